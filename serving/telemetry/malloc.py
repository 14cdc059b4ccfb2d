"""Has the C library give memory back after a burst.

glibc raises its threshold for mapping large blocks each time one is freed, and then keeps what a burst of
bodies took, in an arena for each thread: hundreds of megabytes that no one uses. With fixed thresholds large
blocks go back at once.
"""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)
_BLOCK_BYTES = 4 * 2**20
_ARENAS = 2
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
"""Environment variables that say the same; where one is set, nothing is done here."""


def give_back_memory() -> bool:
    """Set the thresholds; for a program's entry point, before threads start.

    Returns:
        Whether they were set: the C library is glibc, and the environment says nothing of its own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None or any(name in os.environ for name in VARIABLES):
        return False
    settings = ((_MMAP_THRESHOLD, _BLOCK_BYTES), (_TRIM_THRESHOLD, _BLOCK_BYTES), (_ARENA_MAX, _ARENAS))
    return all([bool(mallopt(parameter, value)) for parameter, value in settings])
