"""Ways to wait for answers besides a blocking call: a task of asyncio, and a stream of several under way."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from serving.errors import OverloadedError
from serving.scheduler.request import Request, ResultT

ImageT = TypeVar("ImageT")
PixelsT = TypeVar("PixelsT")
AnswerT = TypeVar("AnswerT")


async def admitted(submit: Callable[[], Request[ResultT]]) -> Request[ResultT]:
    """Return the request that `submit` admits, and drop it if the task is cancelled in the meantime.

    In a thread: planning a new budget takes milliseconds.
    """
    admitting = asyncio.ensure_future(asyncio.to_thread(submit))
    try:
        return await asyncio.shield(admitting)
    except asyncio.CancelledError:
        admitting.add_done_callback(_drop)
        raise


def stream(
    images: Iterable[ImageT],
    *,
    read: Callable[[ImageT], PixelsT],
    submit: Callable[[PixelsT], Request[list[AnswerT]]],
    ahead: int,
) -> Iterator[AnswerT]:
    """Answer images one after the other (see `Model.stream`).

    Args:
        images: the source.
        read: decodes one.
        submit: admits it.
        ahead: how many may be under way, 1 or more.

    Yields:
        An answer for each image.
    """
    under_way: deque[Request[list[AnswerT]]] = deque()
    try:
        for image in images:
            if len(under_way) >= ahead:
                yield _oldest(under_way)
            pixels = read(image)
            while True:
                try:
                    under_way.append(submit(pixels))
                    break
                except OverloadedError:
                    if not under_way:
                        raise
                yield _oldest(under_way)
        while under_way:
            yield _oldest(under_way)
    finally:
        for request in under_way:
            request.cancel()


def _oldest(under_way: deque[Request[list[AnswerT]]]) -> AnswerT:
    """Wait for the answer to the first image under way, and take it out."""
    answer = under_way[0].future.result()[0]
    under_way.popleft()
    return answer


def _drop(admitting: asyncio.Future[Request[ResultT]]) -> None:
    """Drop the images of a request, if it was admitted."""
    if not admitting.cancelled() and admitting.exception() is None:
        admitting.result().cancel()
