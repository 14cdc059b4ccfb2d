"""Tables from the user's own disk: folders of images by class, and folders of parquet shards."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image

from training.data.image_files import (
    ENDINGS,
    LeftOut,
    count_beside,
    folders_in,
    is_hidden,
    pictures_in,
)
from training.errors import DataError

PARTS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of a folder or a shard, and the part that each stands for."""

_LOGGER = logging.getLogger(__name__)

IN_MEMORY_BYTES = 1 << 30
"""Parquet up to this size is read into memory; more is unpacked once into the cache of `datasets`."""


def read_folder(folder: Path) -> dict[str, Dataset]:
    """Read a folder of parquet shards or of images by class, whichever it is.

    Args:
        folder: the folder; shards may also lie in its `data` folder, as in a clone from the Hub.

    Returns:
        one table per part ("train", "validation", "test") that the folder has.

    Raises:
        DataError: neither kind, or one that cannot be used.
    """
    for place in (folder, folder / "data"):
        shards = sorted(shard for shard in place.glob("*.parquet") if not is_hidden(shard.name))
        if shards:
            return _read_shards(folder, shards)
    if not folders_in(folder):
        raise DataError(
            f"{folder}: expected parquet files, or one sub-folder of images per class (with or without train "
            "and test folders above them), found neither"
        )
    return _read_images(folder)


def _read_shards(folder: Path, shards: Iterable[Path]) -> dict[str, Dataset]:
    """Read `train-*.parquet` and its like; shards named after no part at all are all training shards."""
    named: dict[str, list[Path]] = {}
    for shard in shards:
        prefix = shard.name.replace(".", "-").replace("_", "-").split("-")[0].lower()
        named.setdefault(PARTS.get(prefix, ""), []).append(shard)
    unnamed = named.pop("", [])
    if "train" not in named:
        if named:
            raise DataError(
                f"{folder}: expected train-*.parquet, found only {', '.join(sorted(named))} shards"
            )
        named = {"train": unnamed}
    return {part: _read_parquet(folder, files) for part, files in named.items()}


def _read_parquet(folder: Path, files: list[Path]) -> Dataset:
    if sum(file.stat().st_size for file in files) > IN_MEMORY_BYTES:
        return Dataset.from_parquet([str(file) for file in files])
    try:
        return Dataset(pa.concat_tables([pq.read_table(file) for file in files]))
    except (pa.ArrowException, OSError) as error:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{folder}: {names} cannot be read as one parquet table: {error}") from error


def _read_images(folder: Path) -> dict[str, Dataset]:
    """Read `class/image` or `part/class/image`; the files' order is that of their sorted paths.

    `datasets`' own folder builder takes any path with "train" or "test" in it for a split, and CIFAR-100 has
    a class called train: the layout is therefore decided here.
    """
    left_out = LeftOut()
    parts = _parts(folder)
    classes = list(folders_in(parts["train"]))
    tables = {part: _table(path, classes, left_out) for part, path in parts.items()}
    if folder not in parts.values():
        count_beside(folder, left_out, f"beside {' and '.join(sorted(parts))}")
    left_out.tell(folder)
    return tables


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folder of each part: the sub-folders called so, or the folder itself as training part."""
    named = folders_in(folder)
    found = {name: path for name, path in named.items() if name.lower() in PARTS}
    others = sorted(named.keys() - found.keys())
    parts = {PARTS[name.lower()]: path for name, path in found.items()}
    of_classes = [name for name, path in found.items() if _holds_classes(path)]
    if not of_classes:
        return {"train": folder}
    if others and ("train" not in parts or len(parts) < 2 or len(of_classes) < len(found)):
        raise DataError(
            f"{folder}: it is not clear whether {', '.join(sorted(found))} are parts of the data or classes "
            f"beside {', '.join(others[:5])}: move the classes into a folder train, or rename them"
        )
    if len(parts) < len(found):
        raise DataError(
            f"{folder}: two folders stand for one part: {', '.join(sorted(found))}; keep one of them"
        )
    if "train" not in parts:
        raise DataError(f"{folder}: expected a folder train, found only {', '.join(sorted(found))}")
    if others:
        _LOGGER.warning(
            "%s: the folders %s beside %s are left out", folder, ", ".join(others), ", ".join(sorted(found))
        )
    return parts


def _holds_classes(folder: Path) -> bool:
    """Whether pictures are in sub-folders of a folder, and none beside them."""
    return bool(folders_in(folder)) and not any(
        path.is_file() and path.suffix.lower() in ENDINGS and not is_hidden(path.name)
        for path in folder.iterdir()
    )


def _table(folder: Path, classes: list[str], left_out: LeftOut) -> Dataset:
    by_class = {name: pictures_in(path, left_out) for name, path in folders_in(folder).items()}
    unknown = sorted(set(by_class) - set(classes))
    if unknown:
        raise DataError(
            f"{folder}: no training images for its classes {', '.join(unknown)}: add or remove them"
        )
    count_beside(folder, left_out, "beside the folders of the classes")
    return _images_table(by_class, classes)


def _images_table(by_class: Mapping[str, list[str]], classes: list[str]) -> Dataset:
    images = [path for files in by_class.values() for path in files]
    labels = [classes.index(name) for name, files in by_class.items() for _ in files]
    features = Features({"image": Image(), "label": ClassLabel(names=classes)})
    return Dataset.from_dict({"image": images, "label": labels}, features=features)
