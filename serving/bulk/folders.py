"""A folder of images, sub-folders included, by sorted path."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from serving.bulk.items import Item, shown
from serving.errors import ImageError
from serving.system.plain_file import read_plain


class ImageFolder:
    """Image files below a folder.

    Args:
        folder: the folder.
        files: the images, sorted.
        passed_over: number of other files.
        max_bytes: the most bytes of one image.
    """

    def __init__(self, folder: Path, files: Sequence[Path], passed_over: int, max_bytes: int) -> None:
        self._folder, self._files, self._max_bytes = folder, files, max_bytes
        self.passed_over = passed_over

    @property
    def kept_fields(self) -> Sequence[Any]:
        """None: there are no columns."""
        return ()

    def __len__(self) -> int:
        return len(self._files)

    @property
    def listing(self) -> list[str]:
        """The paths; a file that is changed meanwhile is read as it is then."""
        return [self._name(file) for file in self._files]

    def items(self, start: int) -> Iterator[Item]:
        """Yield the images from the one at `start` on; each file is read when it is decoded."""
        for file in self._files[start:]:
            yield Item(self._name(file), partial(_read, file, self._max_bytes))

    def _name(self, file: Path) -> str:
        return shown(file.relative_to(self._folder).as_posix())


def _read(file: Path, max_bytes: int) -> bytes:
    try:
        return read_plain(file, max_bytes)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ImageError(str(error)) from error
