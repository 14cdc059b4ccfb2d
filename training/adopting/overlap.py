"""Finds images in two sets that should share none, by their encoded bytes."""

import hashlib
from pathlib import Path

import numpy as np

from training.adopting.images import Opened, Pictures

_CHUNK = 1024


def digests(pictures: Pictures) -> set[bytes]:
    """Return a digest of each image's file."""
    found = set()
    for start in range(0, len(pictures), _CHUNK):
        for cell in pictures.part.images[pictures.rows[start : start + _CHUNK]]["image"]:
            data = cell["bytes"]
            if data is None:
                try:
                    data = Path(cell["path"]).read_bytes()
                except OSError:  # decoding names it, or it lies in an archive of the Hub
                    continue
            found.add(hashlib.blake2b(data, digest_size=16).digest())
    return found


def warnings(opened: Opened, *, trains: bool) -> list[str]:
    """Say which images are where they should not be.

    Args:
        opened: the images.
        trains: heads learn from those for training.
    """
    said = []
    calibrate = digests(opened.calibrate)
    if opened.test is not None:
        said += _shared(digests(opened.test), calibrate, "test images", "those that thresholds are fitted on")
    if trains and (not opened.drawn or opened.unlabelled is not None):
        said += _shared(calibrate, digests(opened.train), "calibration images", "those that heads learn from")
    return said


def _shared(some: set[bytes], others: set[bytes], these: str, those: str) -> list[str]:
    shared = len(some & others)
    if not shared:
        return []
    share = np.ceil(100 * shared / len(some))
    return [
        f"warning: {shared:,} of the {these} ({share:.0f}%) are also among {those}: figures promise too "
        "much; give other images by --calibrate-on and --test-dataset"
    ]
