"""The division of a machine, and of a server's limits, between its processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serving.settings import Settings


@dataclass(frozen=True)
class Share:
    """What one process gets.

    Attributes:
        number: of the process, from 1; the parent is 0.
        threads: that compute, for each model.
        cores: that all of its threads stay on; None lets the system choose.
        core_count: how many its models take turns on.
    """

    number: int
    threads: int
    cores: tuple[int, ...] | None = None
    core_count: int = 1


def shares(count: int, allowed: Sequence[int], *, threads: int = 0, quota: int | None = None) -> list[Share]:
    """Divide the cores between processes; those that are left over go to the first ones.

    A process is pinned to its cores where each has whole ones of its own. Under a quota nobody knows which
    cores are free: other containers would be pinned to the same first ones.

    Args:
        count: of processes.
        allowed: the numbers of the cores that this process may run on.
        threads: of each process, as the user set it; 0 takes as many as it has cores.
        quota: whole cores' worth of time, where a control group grants less than all of `allowed`.

    >>> [(share.threads, share.cores) for share in shares(2, [0, 1, 2, 3, 4])]
    [(3, (0, 1, 2)), (2, (3, 4))]
    >>> [(share.threads, share.cores) for share in shares(2, range(64), quota=4)]
    [(2, None), (2, None)]
    """
    cores = len(allowed) if quota is None else quota
    sizes = [cores // count + (place < cores % count) for place in range(count)]
    pinned = quota is None and min(sizes) >= max(1, threads)
    found, first = [], 0
    for number, size in enumerate(sizes, start=1):
        own = tuple(sorted(allowed)[first : first + size]) if pinned else None
        found.append(Share(number, threads or max(1, size), own, max(1, size)))
        first += size
    return found


def settings_of(settings: Settings, count: int, share: Share) -> Settings:
    """Return the settings of one process: limits of the server are divided, limits of a request are not.

    What is kept on disk and what follows the folder of models is the parent's.
    """
    most_rows = -(-settings.max_queue_rows // count)
    most_bytes = settings.waiting_bytes // count
    return settings.model_copy(
        update={
            "threads": share.threads,
            "decode_threads": _decode_threads(settings, count),
            # A request that one process would take is taken by each of several.
            "max_queue_rows": max(most_rows, min(settings.max_queue_rows, settings.max_images)),
            "max_waiting_bytes": max(most_bytes, min(settings.waiting_bytes, settings.max_body_bytes)),
            "max_connections": -(-settings.max_connections // count),
            "max_model_memory": settings.max_model_memory // count,
            "grpc_port": settings.grpc_port if share.number == 1 else None,
            "state_dir": None,
            "watch": False,
        }
    )


def _decode_threads(settings: Settings, count: int) -> int | Literal["auto"]:
    """Divide a number that the user set; 0 and `auto` are of each process."""
    threads = settings.decode_threads
    return threads if threads == "auto" or not threads else max(1, threads // count)
