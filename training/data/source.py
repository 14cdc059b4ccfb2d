"""Where images come from: digits, a Hub name, or a folder, all as one table of images and labels per part."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import numpy.typing as npt
from PIL import Image

from training.data.columns import UNLABELLED, find_image_column, find_label_column, read_labels
from training.data.folders import PARTS, read_folder
from training.data.image_files import look
from training.errors import DataError

ALIASES = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
"""Short names, and the Hub's names that they stand for."""

LABEL_COLUMNS = {"cifar100": "fine_label"}
"""The label column of a short name, where the data set has several."""


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a source as its publisher made it.

    Args:
        name: the data set and the part, for messages.
        images: a table with the one column `image`, not decoded: the encoded bytes, or a path.
        labels: int64 [N].
    """

    name: str
    images: datasets.Dataset
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Source:
    """A data set: class names, and labelled parts.

    Args:
        name: the Hub's name, `digits`, or the folder's name.
        classes: the class names, in label order.
        parts: "train", and "validation" and "test" where the publisher has labelled ones.
    """

    name: str
    classes: tuple[str, ...]
    parts: Mapping[str, Part]

    @property
    def labels(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return int64 [N] per part."""
        return {name: part.labels for name, part in self.parts.items()}


def load_source(dataset: str, image_column: str | None = None, label_column: str | None = None) -> Source:
    """Open a data set without decoding its images.

    Args:
        dataset: `digits`, a short name (`ALIASES`), an existing folder, or a Hub name `owner/name[:config]`.
        image_column: the column of the images; None finds it from the features.
        label_column: the column of the labels; None finds it from the features.

    Raises:
        DataError: it cannot be found, reached, read, or used for classification.
    """
    if dataset == "digits":
        return assemble("digits", {"train": _digits()}, image_column, label_column)
    if dataset in ALIASES:
        tables = _from_hub(ALIASES[dataset])
        return assemble(ALIASES[dataset], tables, image_column, label_column or LABEL_COLUMNS.get(dataset))
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        return assemble(folder.resolve().name, read_folder(folder), image_column, label_column)
    if (
        folder.exists()
        or dataset.startswith((".", "~", "/"))
        or dataset.count("/") > 1
        or os.sep == dataset[-1]
    ):
        raise DataError(
            f"--dataset {dataset}: expected a folder, found {'a file' if folder.exists() else 'none'}"
        )
    return assemble(dataset, _from_hub(dataset), image_column, label_column)


def assemble(
    name: str,
    tables: Mapping[str, datasets.Dataset],
    image_column: str | None = None,
    label_column: str | None = None,
) -> Source:
    """Make a source of tables: find the columns, read the labels, drop parts that are empty or unlabelled.

    Args:
        name: the data set's name.
        tables: a table per part; "train" among them.
        image_column: the column of the images; None finds it.
        label_column: the column of the labels; None finds it.

    Raises:
        DataError: no usable columns or labels, one class only, or a class without training images.
    """
    tables = {part: table for part, table in tables.items() if len(table)}
    if "train" not in tables:
        raise DataError(f"data set {name}: expected training images, found none")
    features = tables["train"].features
    image = find_image_column(name, features, image_column)
    label = find_label_column(name, {c: f for c, f in features.items() if c != image}, label_column)
    classes, labels = read_labels(name, tables, label)
    parts = {
        part: Part(f"{name} {part}", only_images(name, table, image), labels[part])
        for part, table in tables.items()
        if part == "train" or (labels[part] != UNLABELLED).any()
    }
    if "test" not in parts and "validation" in parts:
        # A hidden test set: the published validation part is what results are reported on.
        parts["test"] = parts.pop("validation")
    _check_labels(name, classes, parts)
    return Source(name, classes, parts)


def _check_labels(name: str, classes: tuple[str, ...], parts: Mapping[str, Part]) -> None:
    for part in parts.values():
        unlabelled = np.flatnonzero(part.labels == UNLABELLED)
        if len(unlabelled):
            raise DataError(
                f"{part.name}: {len(unlabelled)} of {len(part.labels)} images have no label, the first in "
                f"row {unlabelled[0]}: remove or label them"
            )
    if len(classes) < 2:
        raise DataError(
            f"data set {name}: expected at least two classes, found {len(classes)} ({', '.join(classes)})"
        )
    alike = Counter(map(look, classes))
    if twice := [label for label, count in alike.items() if count > 1]:
        raise DataError(
            f"data set {name}: several classes look the same, written in different characters: "
            f"{', '.join(twice[:10])}; rename or merge them"
        )
    counts = np.bincount(parts["train"].labels, minlength=len(classes))
    empty = [label for label, count in zip(classes, counts, strict=True) if not count]
    if empty:
        raise DataError(
            f"data set {name}: no training images for {len(empty)} of its {len(classes)} classes: "
            f"{', '.join(empty[:10])}; add some or remove the class"
        )


def only_images(name: str, table: datasets.Dataset, column: str) -> datasets.Dataset:
    """Return the table's images alone, not decoded, in the column `image`.

    Raises:
        DataError: there is no such column, or it holds no images.
    """
    if column not in table.column_names:
        raise DataError(
            f"data set {name}: a part has no column {column!r}, found {', '.join(table.column_names)}"
        )
    try:
        only = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        return only if column == "image" else only.rename_column(column, "image")
    except (TypeError, ValueError, NotImplementedError) as error:  # Arrow's own errors derive from these.
        raise DataError(
            f"data set {name}: column {column!r} ({table.features[column]}) holds no images: name another by "
            "--image-column"
        ) from error


def _digits() -> datasets.Dataset:
    """Return scikit-learn's 1,797 handwritten digits: 8x8 grey, their 17 levels spread over 0 … 255."""
    from sklearn.datasets import load_digits  # only here: no other data set should wait for its import

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=[str(digit) for digit in range(10)])}
    )
    return datasets.Dataset.from_dict(
        {"image": [Image.fromarray(image) for image in pixels], "label": digits.target.tolist()},
        features=features,
    )


def _from_hub(name: str) -> dict[str, datasets.Dataset]:
    repository, _, config = name.partition(":")
    try:
        found = datasets.load_dataset(repository, config or None)
    except ConnectionError as error:
        raise DataError(
            f"the Hugging Face Hub cannot be reached for {name} ({error}), and there is no copy in the "
            "cache: connect once, or give a folder of images by class or of parquet shards"
        ) from error
    except FileNotFoundError as error:
        raise DataError(
            f"--dataset {name}: neither a folder here nor a data set of the Hugging Face Hub that this "
            f"account can read ({error}): check the name"
        ) from error
    except (
        Exception
    ) as error:  # Three libraries answer for the network and the format; each has its own tree.
        raise DataError(
            f"data set {name} cannot be loaded from the Hugging Face Hub ({type(error).__name__}: {error}); "
            "of several configurations choose one by name:config"
        ) from error
    tables = {PARTS[part]: table for part, table in found.items() if part in PARTS}
    if "train" not in tables:
        raise DataError(f"data set {name}: expected a train split, found {', '.join(map(str, found))}")
    return tables
