"""The instruction set of this machine's processor, as far as it changes how networks are computed."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

_BEST_FIRST = (
    ("amx", ("amx_bf16", "amx_int8")),
    ("avx512_bf16", ("avx512_bf16",)),
    ("avx512_vnni", ("avx512_vnni",)),
    ("avx512", ("avx512f",)),
    ("avx_vnni", ("avx_vnni",)),
    ("avx2", ("avx2",)),
    ("sve", ("sve",)),
    ("neon_dot", ("asimddp",)),
    ("neon", ("asimd",)),
)
"""Names, and the flags that a processor with that set has; the most capable first."""


@cache
def instruction_set() -> str | None:
    """Name the most capable set that matters, such as `avx512_vnni`; None where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None
    return best_of(_flags(text))


def best_of(flags: Sequence[str]) -> str | None:
    """Name the most capable set among a processor's flags.

    >>> best_of(["fpu", "avx2", "avx512f", "avx512_vnni"])
    'avx512_vnni'
    >>> best_of(["fpu"])
    """
    present = set(flags)
    return next((name for name, needed in _BEST_FIRST if present.issuperset(needed)), None)


def _flags(text: str) -> list[str]:
    """The flags of the first processor in /proc/cpuinfo; x86 calls them so, ARM calls them features."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return value.split()
    return []
