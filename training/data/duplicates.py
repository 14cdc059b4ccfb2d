"""Finds pictures that are in more than one of training, validation and test, byte for byte."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from training.data.source import Part
from training.data.split import Split

_LOGGER = logging.getLogger(__name__)
_HEAD_BYTES = 4096


class Place(NamedTuple):
    """A picture: the subset that it is in (train, validation or test), and the part and row it lies at."""

    subset: str
    part: str
    row: int


KeyT = TypeVar("KeyT", bound=Hashable)


def duplicates(parts: Mapping[str, Part], split: Split) -> list[tuple[Place, ...]]:
    """Return the groups of equal pictures that are in more than one subset, largest first.

    Pictures in the table are compared by length and beginning as they pass. Of files only those of one length
    are read, first their beginnings. What agrees is compared whole.

    Args:
        parts: where the pictures are.
        split: which of them are in which subset.
    """
    subsets = {"train": split.train, "validation": split.validation, "test": split.test}
    places = (Place(name, subset.part, int(row)) for name, subset in subsets.items() for row in subset.rows)
    cells = {name: part.images.with_format("arrow") for name, part in parts.items()}

    def content(place: Place, most: int | None = None) -> bytes:
        cell = cells[place.part][place.row]["image"][0].as_py()
        if cell["bytes"] is not None:
            return bytes(cell["bytes"][:most])
        try:
            with Path(cell["path"]).open("rb") as file:
                return file.read(-1 if most is None else most)
        except OSError:  # A member of an archive, say; what is wrong is said when it is trained on.
            return f"{place}".encode()

    def digest(place: Place) -> bytes:
        return _digest(content(place))

    def head(place: Place) -> bytes:
        return _digest(content(place, _HEAD_BYTES))

    looks = {name: _looks(part) for name, part in parts.items()}
    groups: Iterable[list[Place]] = _shared([list(places)], lambda place: looks[place.part][place.row])
    for key in (head, digest):
        groups = _shared(groups, key)
    return sorted((tuple(group) for group in groups), key=len, reverse=True)


def tell_duplicates(parts: Mapping[str, Part], split: Split) -> None:
    """Say how many pictures are in more than one subset, with an example."""
    found = duplicates(parts, split)
    if not found:
        return
    first = {place.subset: place for place in found[0]}
    example = " and ".join(f"{place.subset} ({_where(parts, place)})" for place in first.values())
    _LOGGER.warning(
        "%s: %d pictures are in more than one of training, validation and test, such as one in %s: accuracy "
        "will look better than it is; remove copies",
        parts["train"].name.removesuffix(" train"),
        len(found),
        example,
    )


def _shared(groups: Iterable[list[Place]], key: Callable[[Place], KeyT]) -> Iterator[list[Place]]:
    """Divide groups by a key; keep what is in more than one subset."""
    for group in groups:
        divided: dict[KeyT, list[Place]] = defaultdict(list)
        for place in group:
            divided[key(place)].append(place)
        yield from (same for same in divided.values() if len({place.subset for place in same}) > 1)


def _looks(part: Part) -> list[tuple[int, bytes]]:
    """The length of each picture, -1 where its file cannot be asked, and what its beginning hashes to.

    A file is not opened for that: its beginning is left empty. Pictures that lie in a table are hashed here,
    as single rows of it take far longer than all in their order.
    """
    return [
        (_size(image["path"]), b"")
        if image["bytes"] is None
        else (len(image["bytes"]), _digest(image["bytes"][:_HEAD_BYTES]))
        for cells in part.images.with_format("arrow").iter(batch_size=1000)
        for image in cells["image"].to_pylist()
    ]


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content).digest()


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1


def _where(parts: Mapping[str, Part], place: Place) -> str:
    path = parts[place.part].images[place.row]["image"].get("path")
    return path or f"row {place.row} of {parts[place.part].name}"
