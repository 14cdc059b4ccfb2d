"""One precision of a measured network."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Net:
    """One precision of what is measured.

    Args:
        bundle: its folder.
        full: the whole net as one graph, last exit only.
    """

    bundle: Path
    full: Path
