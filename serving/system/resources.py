"""The cores and the memory that this process may use: those of the machine, or fewer in a container.

A container with a quota of 2 CPUs on a machine of 64 may run on all of them, a little at a time: a thread for
each would only take turns. Control groups say what the quota is, in two versions of files.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MOST_THREADS = 1024
"""No machine has more cores to give one model; more would end in an error of the system."""

ReadText = Callable[[str], str | None]
"""Path -> the file's text; None where there is no such file, or it cannot be read."""

_ROOT = "/sys/fs/cgroup"
_UNLIMITED_BYTES = 2**60  # version 1 says "no limit" with a number near 2**63


@dataclass(frozen=True)
class Resources:
    """Limits of a process.

    Args:
        cores: whole cores' worth of processor time, at least 1.
        memory_bytes: None where nothing limits it but the machine, and that is not known.
        cores_from: what sets `cores`: `affinity` or `cgroup`.
        memory_from: what sets `memory_bytes`: `machine` or `cgroup`.
    """

    cores: int
    memory_bytes: int | None
    cores_from: str = "affinity"
    memory_from: str = "machine"


def resources() -> Resources:
    """Look at this process's affinity, at the machine, and at its control groups."""
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    machine = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return within(affine, machine, _read)


def resident_bytes() -> int | None:
    """What this process occupies in memory; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def within(affine_cores: int, machine_bytes: int | None, read: ReadText) -> Resources:
    """Limit what the machine offers by what control groups allow.

    Args:
        affine_cores: cores that the process may be scheduled on.
        machine_bytes: the machine's memory.
        read: reads files below /proc and /sys.

    >>> files = {"/proc/self/cgroup": "0::/app", "/sys/fs/cgroup/app/cpu.max": "150000 100000"}
    >>> within(64, None, files.get).cores
    2
    """
    quota, limit = _cpu_quota(read), _memory_limit(read)
    cores, cores_from = affine_cores, "affinity"
    if quota is not None and math.ceil(quota) < affine_cores:
        cores, cores_from = max(1, math.ceil(quota)), "cgroup"
    memory, memory_from = machine_bytes, "machine"
    if limit is not None and (machine_bytes is None or limit < machine_bytes):
        memory, memory_from = limit, "cgroup"
    return Resources(cores, memory, cores_from, memory_from)


def _cpu_quota(read: ReadText) -> float | None:
    """The least quota of the process's groups and of those above them, in cores; None where there is none."""
    quotas = [_ratio((read(f"{folder}/cpu.max") or "").split()) for folder in _folders(read, None)]
    for folder in _folders(read, "cpu"):
        pair = [read(f"{folder}/cpu.cfs_quota_us"), read(f"{folder}/cpu.cfs_period_us")]
        quotas.append(_ratio([text.strip() for text in pair if text is not None]))
    return min((quota for quota in quotas if quota is not None), default=None)


def _memory_limit(read: ReadText) -> int | None:
    found = [read(f"{folder}/memory.max") for folder in _folders(read, None)]
    found += [read(f"{folder}/memory.limit_in_bytes") for folder in _folders(read, "memory")]
    limits = [number for text in found if text is not None and (number := _whole(text.strip())) is not None]
    return min((limit for limit in limits if 0 < limit < _UNLIMITED_BYTES), default=None)


def _folders(read: ReadText, controller: str | None) -> list[str]:
    """The folders of the process's group, of version 2 (None) or of a controller of version 1, up to the top.

    In a container the group's path may be the host's, which is not there: the top is the container's own.
    """
    root = _ROOT if controller is None else f"{_ROOT}/{controller}"
    folders = (
        [root] if controller is None else [root, f"{_ROOT}/cpu,cpuacct"] if controller == "cpu" else [root]
    )
    for line in (read("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" if controller is None else controller in controllers.split(","):
            parts = PurePosixPath(path.strip("/"))
            if ".." in parts.parts:  # a group outside of what is mounted here
                continue
            for top in list(folders):
                folders += [f"{top}/{part}" for part in (parts, *parts.parents) if str(part) != "."]
    return folders


def _ratio(words: list[str]) -> float | None:
    """Quota over period; None where it is `max`, -1, or no pair of numbers."""
    numbers = [_whole(word) for word in words[:2]]
    if len(numbers) < 2 or numbers[0] is None or numbers[1] is None or min(numbers[0], numbers[1]) <= 0:
        return None
    return numbers[0] / numbers[1]


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 25 else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        return None
