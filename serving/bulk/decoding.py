"""Decodes the images of a source in threads, some way ahead of the model, in order."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from serving.bulk.items import Item, Source
from serving.errors import ImageError
from serving.images.decode import decode
from serving.images.preprocessing import Preprocessing

_CHUNK = 32
_AHEAD_CHUNKS = 32
"""The most chunks of images that are decoded and wait: one shard."""

Image = npt.NDArray[np.uint8]


@dataclass
class Shard:
    """Images in a row: the number of the first, the paths of all, those decoded, and the others' errors."""

    start: int
    paths: list[str] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """The limits of one image, and the number of threads that decode."""

    max_pixels: int
    threads: int


def shards(
    source: Source, start: int, rows: int, preprocessing: Preprocessing, limits: Limits
) -> Iterator[Shard]:
    """Yield shards of decoded images, from the one at `start` on.

    Args:
        source: the images.
        start: number of the first.
        rows: of a shard; the last may have fewer.
        preprocessing: what the model takes.
        limits: the most pixels of an image, and how many threads decode.

    Raises:
        SourceError: the source cannot be read on, or ends before its time.
    """
    shard = Shard(start)
    for item, found in _decoded(source, start, preprocessing, limits):
        if isinstance(found, str):
            shard.errors[len(shard.paths)] = found
        else:
            shard.images.append(found)
        shard.paths.append(item.path)
        if len(shard.paths) == rows:
            yield shard
            shard = Shard(shard.start + rows)
    if shard.paths:
        yield shard


def _decoded(
    source: Source, start: int, preprocessing: Preprocessing, limits: Limits
) -> Iterator[tuple[Item, Image | str]]:
    items = source.items(start)
    pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="decode")
    waiting: deque[tuple[list[Item], Future[list[Image | str]]]] = deque()
    try:
        while True:
            while len(waiting) < _AHEAD_CHUNKS and (chunk := list(islice(items, _CHUNK))):
                waiting.append((chunk, pool.submit(_decode, chunk, preprocessing, limits.max_pixels)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            yield from zip(chunk, future.result(), strict=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _decode(items: Sequence[Item], preprocessing: Preprocessing, max_pixels: int) -> list[Image | str]:
    found: list[Image | str] = []
    for item in items:
        try:
            found.append(decode(item.read(), preprocessing, max_pixels))
        except ImageError as error:
            found.append(str(error))
    return found
