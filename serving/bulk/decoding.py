"""Decodes the images of a source in threads, some way ahead of the model, in order."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

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
    """Images in a row.

    Attributes:
        start: number of the first.
        paths: of all.
        images: those that were decoded.
        errors: of the others, by their place.
        kept: values of the columns that are carried to the output, of all.
    """

    start: int
    paths: list[str] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    kept: list[tuple[Any, ...]] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """The limits of one image, and the number of threads that decode."""

    max_pixels: int
    threads: int


def shards(
    source: Source,
    start: int,
    rows: int,
    preprocessing: Preprocessing,
    limits: Limits,
    stop: int | None = None,
) -> Generator[Shard, None, None]:
    """Yield shards of decoded images, from the one at `start` on.

    Args:
        source: the images.
        start: number of the first.
        rows: of a shard; the last may have fewer.
        preprocessing: what the model takes.
        limits: the most pixels of an image, and how many threads decode.
        stop: number of the image before which to stop; the source's end if None.

    Raises:
        SourceError: the source cannot be read on, or ends before its time.
    """
    shard = Shard(start)
    for item, found in _decoded(source, start, stop, preprocessing, limits):
        if isinstance(found, str):
            shard.errors[len(shard.paths)] = found
        else:
            shard.images.append(found)
        shard.paths.append(item.path)
        shard.kept.append(item.kept)
        if len(shard.paths) == rows:
            yield shard
            shard = Shard(shard.start + rows)
    if shard.paths:
        yield shard


def _decoded(
    source: Source, start: int, stop: int | None, preprocessing: Preprocessing, limits: Limits
) -> Iterator[tuple[Item, Image | str]]:
    items = islice(source.items(start), None if stop is None else stop - start)
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
