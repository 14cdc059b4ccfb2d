"""Reads captured images, also while a server writes: each read is short."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.capture.store import FILE, FORMAT
from serving.errors import CaptureError
from serving.system.database_format import refuse_other_formats

CHUNK = 256


@dataclass(frozen=True)
class Captured:
    """The captured images of one bundle.

    Attributes:
        file: has them.
        bundle: identity of the bundle.
        images: how many there are.
        labelled: of these, those whose true class is known.
    """

    file: Path
    bundle: str
    images: int
    labelled: int

    def batches(
        self, shape: tuple[int, int, int], *, labelled: bool
    ) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
        """Yield images uint8 [n, H, W, 3] and classes int64 [n], -1 where none is known.

        The order is random: that of the keys.

        Args:
            shape: (H, W, 3) of the bundle's images.
            labelled: only those whose class is known.

        Raises:
            CaptureError: an image has another shape, or the file cannot be read.
        """
        known = " AND label IS NOT NULL" if labelled else ""
        with _opened(self.file) as database:
            after = -1.0
            while True:
                found = database.execute(
                    "SELECT key, COALESCE(label, -1), height, width, pixels FROM captured "  # noqa: S608
                    f"WHERE bundle = ? AND key > ?{known} ORDER BY key LIMIT ?",
                    (self.bundle, after, CHUNK),
                ).fetchall()
                if not found:
                    return
                after = found[-1][0]
                for _, _, height, width, pixels in found:
                    if (height, width, 3) != shape or len(pixels) != height * width * 3:
                        raise CaptureError(
                            f"{self.file}: expected images of {shape[0]} × {shape[1]}, found one of "
                            f"{height} × {width} in {len(pixels)} bytes: remove the file, and capture again"
                        )
                images = np.stack([np.frombuffer(row[4], np.uint8).reshape(shape) for row in found])
                yield images, np.array([row[1] for row in found], np.int64)


def find_captured(place: Path, bundle: str, name: str) -> Captured:
    """Find the captured images of a bundle.

    Args:
        place: the server's state directory, or the file in it.
        bundle: identity of the bundle.
        name: what it is called, for messages.

    Raises:
        CaptureError: there are none, or the file cannot be read.
    """
    file = place / FILE if place.is_dir() else place
    if not file.is_file():
        raise CaptureError(
            f"{place}: expected the --state-dir of a server with --capture, or its {FILE}; found none"
        )
    with _opened(file) as database:
        counts = database.execute(
            "SELECT COUNT(*), COUNT(label) FROM captured WHERE bundle = ?", (bundle,)
        ).fetchone()
        if counts[0]:
            return Captured(file, bundle, *counts)
        others = database.execute(
            "SELECT model, COUNT(*) FROM captured GROUP BY bundle ORDER BY MAX(at) DESC LIMIT 8"
        ).fetchall()
    found = ", ".join(f"{images} of {model!r}" for model, images in others) or "none at all"
    raise CaptureError(
        f"{file}: expected images captured for this bundle ({name!r}, {bundle[:8]}…), found {found}. A "
        "bundle that was exported or calibrated again is another one: give the one that was served"
    )


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """Open the file to read alone.

    Raises:
        CaptureError: it is no such file.
    """
    try:
        # To write: what a server that was killed left half-written is undone first.
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)) as database:
            refuse_other_formats(database, FORMAT)
            yield database
    except sqlite3.Error as error:
        raise CaptureError(f"{file}: cannot be read: {error}") from error
