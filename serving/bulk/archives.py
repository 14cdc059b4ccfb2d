"""Tar archives of images, such as webdataset's shards; nothing is unpacked to the disk."""

import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

from serving.bulk.items import IMAGE_SUFFIXES, Item, SourceError, holding, shown
from serving.errors import ImageError

_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, LZMAError)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class ImageArchives:
    """Image members of tar archives, in the order of the archives.

    Args:
        files: with their names for people.
        max_bytes: the most bytes of one image.

    Raises:
        SourceError: a file that is no tar archive.
    """

    def __init__(self, files: Sequence[tuple[str, Path]], max_bytes: int) -> None:
        self._files, self._max_bytes = files, max_bytes
        self.passed_over = 0
        self._members: list[int] = []
        for name, path in files:
            count = 0
            for _, member in _members(name, path):
                if _is_image(member):
                    count += 1
                elif member.isfile():
                    self.passed_over += 1
            self._members.append(count)

    @property
    def kept_fields(self) -> Sequence[Any]:
        """None: there are no columns."""
        return ()

    def __len__(self) -> int:
        return sum(self._members)

    @property
    def listing(self) -> list[str]:
        """Name, images and bytes of each archive."""
        found = zip(self._files, self._members, strict=True)
        return [f"{name} {count} {path.stat().st_size}" for (name, path), count in found]

    def items(self, start: int) -> Iterator[Item]:
        """Yield the images from the one at `start` on, called by archive and member."""
        for (name, path), count in zip(self._files, self._members, strict=True):
            if start >= count:
                start -= count
                continue
            skipped = 0
            for archive, member in _members(name, path):
                if not _is_image(member):
                    continue
                skipped += 1
                if skipped > start:
                    yield Item(shown(f"{name}#{member.name}"), self._reader(path, archive, member))
            start = 0

    def _reader(self, path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
        if member.size > self._max_bytes:
            return _failing(f"expected at most {self._max_bytes:,} bytes, found {member.size:,}")
        try:
            file = archive.extractfile(member)
            return holding(b"" if file is None else file.read(), self._max_bytes)
        except _BROKEN as error:
            raise SourceError(f"{path}: cannot be read on at {shown(member.name)!r}: {error}") from error


def _members(name: str, path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the members of an archive, in order, with the archive; none is remembered."""
    try:
        with tarfile.open(path) as archive:
            while (member := archive.next()) is not None:
                vars(archive)["members"].clear()  # or it keeps every header
                yield archive, member
    except _BROKEN as error:
        raise SourceError(f"{name}: expected a tar archive that is whole: {error}") from error


def _is_image(member: tarfile.TarInfo) -> bool:
    return member.isfile() and PurePosixPath(member.name).suffix.lower() in IMAGE_SUFFIXES


def _failing(message: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise ImageError(message)

    return read
