"""The images of a source, one after the other, each read only when it is decoded."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from serving.errors import ImageError, OfframpError

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")
)
"""Endings of images; formats that are not read become rows with an error."""


class SourceError(OfframpError):
    """A source of images that is none, or that cannot be read on."""

    title = "unusable source"


class Item(NamedTuple):
    """One image of a source.

    Attributes:
        path: what it is called.
        read: reads its bytes; an ImageError makes it a row with an error.
        kept: its values of the columns that are carried to the output.
    """

    path: str
    read: Callable[[], bytes]
    kept: tuple[Any, ...] = ()


class Source(Protocol):
    """A finite list of images that is the same at every run."""

    @property
    def listing(self) -> list[str]:
        """What tells this source from another: a line per file, of its name and size."""

    @property
    def passed_over(self) -> int:
        """Number of files that are no images by their ending."""

    @property
    def kept_fields(self) -> Sequence[Any]:
        """Arrow fields of the columns that are carried to the output."""

    def __len__(self) -> int:
        """Return the number of images."""

    def items(self, start: int) -> Iterator[Item]:
        """Yield the images from the one at `start` on, in order.

        Raises:
            SourceError: the source cannot be read on.
        """


def holding(data: bytes | None, max_bytes: int) -> Callable[[], bytes]:
    """Return what reads bytes that are there already."""

    def read() -> bytes:
        if data is None:
            raise ImageError("expected an image, found none in this row")
        if len(data) > max_bytes:
            raise ImageError(f"expected at most {max_bytes:,} bytes, found {len(data):,}")
        return data

    return read


def shown(path: str) -> str:
    """Return a path as text that can be stored: bytes that are no UTF-8 are escaped."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
