"""Two ends of a link in one process."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from serving.processes.link import Handler, Link, pair


@contextmanager
def linked(
    handlers: Mapping[str, Handler], lost: Callable[[], None] = lambda: None
) -> Iterator[tuple[Link, Link]]:
    """Give the end that asks, and the one that has the handlers."""
    ours, theirs = pair()
    other: Connection[Any, Any] = Connection(theirs.detach())
    links = Link(ours, {}, "the other", lost), Link(other, handlers, "the first")
    for link in links:
        link.start()
    try:
        yield links
    finally:
        for link in links:
            link.close()
