"""Has the C library give memory back after a burst.

glibc raises its threshold for mapping large blocks each time one is freed, and keeps what a burst of bodies
took in an arena for each thread: hundreds of megabytes that no one uses. With fixed thresholds large blocks
go back at once, and `trim` gives back the pages of small ones that are free.
"""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)
_BLOCK_BYTES = 4 * 2**20
_ARENAS = 2
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
"""Environment variables that say the same; where one is set, the thresholds stay as it says."""


def set_thresholds() -> bool:
    """Set the thresholds; for a program's entry point, before threads start.

    Returns:
        Whether they were set: the C library is glibc, and the environment says nothing of its own.
    """
    mallopt = _function("mallopt")
    if mallopt is None or any(name in os.environ for name in VARIABLES):
        return False
    settings = ((_MMAP_THRESHOLD, _BLOCK_BYTES), (_TRIM_THRESHOLD, _BLOCK_BYTES), (_ARENA_MAX, _ARENAS))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])  # noqa: C419 - set them all


def trim() -> None:
    """Give back what is free; takes some milliseconds, in which other threads run, but may not allocate."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _function(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
