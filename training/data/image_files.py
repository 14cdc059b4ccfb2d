"""The pictures of a folder to train on; other files are counted, and reported.

Links are followed, each folder once. Names with a leading dot are no pictures (`.ipynb_checkpoints`,
`._name.png` of a Mac's archive), nor is `__MACOSX`.
"""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from serving.errors import ImageError
from serving.images.decode import sniff
from training.data.formats import EXTENSIONS
from training.errors import DataError

ENDINGS = {ending for endings in EXTENSIONS.values() for ending in endings}
_ARCHIVE_REMAINS = "__MACOSX"
_DOT = "with a name that starts with a dot"
_LOGGER = logging.getLogger(__name__)


class LeftOut:
    """Counts the files that are not trained on, by reason."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        """Count one file."""
        self._reasons[reason] += 1

    def tell(self, folder: Path) -> None:
        """Say how many files of a folder were left out, and why; nothing if none was."""
        if self._reasons:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._reasons.most_common())
            _LOGGER.warning("%s: %d files were left out: %s", folder, sum(self._reasons.values()), reasons)


def folders_in(folder: Path) -> dict[str, Path]:
    """Return the sub-folders that may be parts or classes, sorted, by their names in NFC.

    Raises:
        DataError: two names look the same, or one is not UTF-8.
    """
    found: dict[str, Path] = {}
    alike: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)):
        name = unicodedata.normalize("NFC", readable(path).name)
        other = alike.setdefault(look(name), path)
        if other is not path:
            raise DataError(
                f"{folder}: two folders look the same, {other.name!a} and {path.name!a}: rename or merge them"
            )
        found[name] = path
    return found


def look(name: str) -> str:
    r"""Return a name as it looks.

    Names have one look that differ in how characters are written, or in such that do not show: blanks at the
    ends, characters of no width.

    >>> look("cafe\u0301 ") == look("caf\u00e9")
    True
    """
    normal = unicodedata.normalize("NFC", name)
    shown = (letter for letter in normal if unicodedata.category(letter) != "Cf")
    return " ".join("".join(shown).split())


def pictures_in(folder: Path, left_out: LeftOut) -> list[str]:
    """Return the paths of all pictures below a folder, sorted.

    Raises:
        DataError: the name of one is not UTF-8.
    """
    return [str(readable(path)) for path in sorted(_files(folder, left_out)) if _is_picture(path, left_out)]


def count_beside(folder: Path, left_out: LeftOut, reason: str) -> None:
    """Count what lies beside the sub-folders of `folder`: its files, and all in its hidden folders."""
    for path in folder.iterdir():
        if path.is_dir():
            if is_hidden(path.name):
                _count_below(path, left_out)
        else:
            left_out.add(_DOT if is_hidden(path.name) else reason)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no data."""
    return name.startswith(".") or name == _ARCHIVE_REMAINS


def readable(path: Path) -> Path:
    """Return a path as it is.

    Raises:
        DataError: its name is not UTF-8, which no table can hold.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{str(path)!a}: expected a name in UTF-8: rename it") from error
    return path


def _files(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # A link leads back to it.
            folders.clear()
            continue
        seen.add(real)
        hidden = [name for name in folders if is_hidden(name)]
        folders[:] = sorted(set(folders) - set(hidden))
        for name in hidden:
            _count_below(Path(place) / name, left_out)
        for name in files:
            if is_hidden(name):
                left_out.add(_DOT)
            else:
                yield Path(place) / name


def _count_below(hidden: Path, left_out: LeftOut) -> None:
    for _, _, files in os.walk(hidden):
        for _ in files:
            left_out.add(f"in {hidden.name}")


def _is_picture(path: Path, left_out: LeftOut) -> bool:
    if not path.is_file():
        left_out.add("a link to nothing" if path.is_symlink() else "no regular file")
        return False
    ending = path.suffix.lower()
    if ending in ENDINGS:
        return True
    if not ending and _looks_like_one(path):
        return True
    left_out.add(f"{ending} (not read)" if ending else "without an ending")
    return False


def _looks_like_one(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            sniff(file.read(16))
    except (OSError, ImageError):
        return False
    return True
