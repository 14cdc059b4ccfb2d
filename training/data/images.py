"""Decoding: from the encoded cells of a source to uint8 arrays, through the preprocessing that is served."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets.utils.file_utils import xopen

from serving.images.decode import to_array
from serving.images.preprocessing import Preprocessing
from serving.images.still import Still
from training.data.formats import open_any
from training.data.source import Part
from training.errors import DataError

Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of the red, green and blue channel."""

Progress = Callable[[str, int, int], None]
"""Told what is being decoded, how many images are done, and of how many."""

CHUNK = 256
"""Images that one thread decodes at a time."""


def read_image(part: Part, row: int, convert: Callable[[Still], Pixels]) -> Pixels:
    """Open one image and convert it.

    Args:
        part: where the image is.
        row: which one.
        convert: makes uint8 [H, W, 3] of an image whose header was read.

    Returns:
        what `convert` made.

    Raises:
        DataError: the image cannot be read; names the part, the row and the file.
    """
    return _convert(part, row, part.images[row]["image"], convert)


def decode(
    part: Part, rows: Ints, spec: Preprocessing, progress: Progress | None = None, threads: int = 4
) -> Pixels:
    """Decode rows of a part as the server would, on a few threads.

    Args:
        part: where the images are.
        rows: int64 [n], which ones.
        spec: size, crop and filter.
        progress: called from time to time.
        threads: how many threads decode; the result does not depend on it.

    Returns:
        uint8 [n, H, W, 3].

    Raises:
        DataError: an image cannot be read.
    """
    images = np.empty((len(rows), spec.height, spec.width, 3), dtype=np.uint8)

    def fill(start: int) -> int:
        chunk = rows[start : start + CHUNK]
        for place, (row, cell) in enumerate(zip(chunk, part.images[chunk]["image"], strict=True), start):
            images[place] = _convert(part, int(row), cell, lambda still: to_array(still, spec))
        return len(chunk)

    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for count in pool.map(fill, range(0, len(rows), CHUNK)):
            done += count
            if progress is not None:
                progress(f"decoding {part.name}", done, len(rows))
    return images


def channel_statistics(chunks: Iterable[Pixels]) -> Statistics:
    """Return mean and standard deviation of each channel, of images scaled to 0 … 1.

    They come from a histogram, so they depend neither on the order of the images nor on how they are cut
    into chunks. A channel that never changes gets the deviation of one grey level, for it is divided by.

    Args:
        chunks: uint8 [n, H, W, 3] each.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    for chunk in chunks:
        for channel in range(3):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = (counts * levels).sum(axis=1) / total
    variance = (counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total
    deviation = np.maximum(np.sqrt(variance), 1 / 255)
    return (mean[0].item(), mean[1].item(), mean[2].item()), (
        deviation[0].item(),
        deviation[1].item(),
        deviation[2].item(),
    )


def _read(path: str) -> bytes:
    if Path(path).is_file():  # Its name may hold "::", which would mean a member of an archive.
        return Path(path).read_bytes()
    with xopen(path, "rb") as file:
        data: bytes = file.read()
    return data


def _convert(part: Part, row: int, cell: Any, convert: Callable[[Still], Pixels]) -> Pixels:
    try:
        encoded = cell["bytes"]
        if encoded is None:
            encoded = _read(cell["path"])
        return convert(open_any(encoded))
    except Exception as error:  # The file cannot be read, its bytes are no picture, or memory is short.
        where = f" ({cell['path']})" if cell and cell.get("path") else ""
        raise DataError(
            f"{part.name}: the image in row {row}{where} cannot be read: {error}; repair or remove it"
        ) from error
