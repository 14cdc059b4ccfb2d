"""Kind 12: a container with less than its machine has, in both versions of control groups.

The server starts in a mount namespace of its own whose /sys/fs/cgroup says what is allowed: any numbers can
be tried on any Linux machine, and nothing is left behind.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most, is_in
from benchmarks.attack.target import Target, serving

_MOUNT = 'mount -t tmpfs none /sys/fs/cgroup && cp -r "$0"/. /sys/fs/cgroup && exec "$@"'
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")
_GROUPS: Mapping[str, Mapping[str, str]] = {
    "version 2": {"cpu.max": "70000 100000", "memory.max": str(2**30)},
    "version 1": {
        "cpu/cpu.cfs_quota_us": "70000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(2**30),
    },
    "numbers that are none": {"cpu.max": "max 0", "memory.max": "-7", "cpu/cpu.cfs_quota_us": "1" * 400},
}


def attack() -> Iterator[Finding]:
    """Serve under a quota of 0.7 cores and 1 GB of memory, and look at what the server made of it."""
    if not _can_unshare():
        yield Finding(
            "mount namespaces", "not to be had here: nothing was tried", "tried where they are", True
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        models = nets.tiny(Path(folder) / "models")
        free = _seen(models, Path(folder) / "free", {})
        for name, files in _GROUPS.items():
            told, threads = _seen(models, Path(folder) / name.replace(" ", "-"), files)
            if name.startswith("version"):
                yield is_in(
                    f"{name}: cores and their source", (told["cores"], told["memory_from"]), ((1, "cgroup"),)
                )
                yield is_in(
                    f"{name}: bytes of bodies, an eighth of the memory", told["waiting_bytes"], (2**27,)
                )
                most = free[1] - (free[0]["cores"] - 1)
                yield at_most(f"{name}: threads that compute, beside the others", threads, most, "threads")
            else:
                yield is_in(f"{name}: cores as without", told["cores"], (free[0]["cores"],))


def _seen(models: Path, folder: Path, files: Mapping[str, str]) -> tuple[dict[str, int], int]:
    """Start under such files; return what the log says of resources, and the number of threads."""
    for name, text in files.items():
        (folder / "group" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "group" / name).write_text(text + "\n")
    (folder / "group").mkdir(parents=True, exist_ok=True)
    inside = (*_UNSHARE, "sh", "-c", _MOUNT, str(folder / "group"))
    log = folder / "log"
    with (
        log.open("wb") as stream,
        serving(models, stderr=stream, inside=inside, environment={"OFFRAMP_THREADS": "0"}) as target,
    ):
        target.ask("/classify", nets.png())
        threads = _threads(target)
    (told,) = [json.loads(line) for line in log.read_text().splitlines() if '"event": "resources"' in line]
    return told, threads


def _threads(target: Target) -> int:
    return len(list(Path(f"/proc/{target.process.pid}/task").iterdir()))


def _can_unshare() -> bool:
    tool = shutil.which("unshare")
    words = [*_UNSHARE, "mount", "-t", "tmpfs", "none", "/sys/fs/cgroup"]
    return tool is not None and subprocess.run(words, capture_output=True, check=False).returncode == 0
