"""Finding the image and the label column of a table, and reading labels as class indices."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import ClassLabel, Dataset, Image

from training.errors import DataError

UNLABELLED = -1
"""The label of an image without one, as the Hub marks hidden test sets."""


def find_image_column(name: str, features: Mapping[str, Any], wanted: str | None) -> str:
    """Return the column of the images.

    Args:
        name: the data set's name, for messages.
        features: the table's features by column.
        wanted: what the user named; None finds the only candidate.

    Raises:
        DataError: no such column, none that holds images, or several.
    """
    images = [column for column, feature in features.items() if isinstance(feature, Image)]
    # Parquet written by other tools carries no Image feature, but the same struct of bytes and a path.
    structs = [
        column for column, feature in features.items() if isinstance(feature, dict) and "bytes" in feature
    ]
    return _choose(name, "image", wanted, images or structs, features)


def find_label_column(name: str, features: Mapping[str, Any], wanted: str | None) -> str:
    """Return the column of the labels: a ClassLabel, else the only column of whole numbers or strings.

    Args:
        name: the data set's name, for messages.
        features: the table's features by column.
        wanted: what the user named; None finds the only candidate.

    Raises:
        DataError: no such column, none that can be a label, or several.
    """
    labels = [column for column, feature in features.items() if isinstance(feature, ClassLabel)]
    plain = [column for column, feature in features.items() if _is_plain_label(feature)]
    if not labels and "label" in plain:
        labels = ["label"]
    column = _choose(name, "label", wanted, labels or plain, features)
    if not isinstance(features[column], ClassLabel) and column not in plain:
        raise DataError(
            f"data set {name}: expected one class per image, found {features[column]} in column {column!r}: "
            "choose another by --label-column"
        )
    return column


def read_labels(
    name: str, tables: Mapping[str, Dataset], column: str
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.int64]]]:
    """Read the label column of every part as class indices.

    A ClassLabel brings its names. The values of a plain column are its classes: sorted, and named by their
    text. Numbers from 0 on without gaps keep their value as index; any others, and strings, get their rank.

    Args:
        name: the data set's name, for messages.
        tables: the table of each part; "train" defines the classes.
        column: the label column.

    Returns:
        the class names, and int64 [N] per part, `UNLABELLED` where a label is missing.

    Raises:
        DataError: a label that is no class of the train part.
    """
    feature = tables["train"].features[column]
    raw = {
        part: table[column][:] if column in table.column_names else [None] * len(table)
        for part, table in tables.items()
    }
    if isinstance(feature, ClassLabel):
        classes = tuple(feature.names)
        index: dict[Any, int] = {value: value for value in range(len(classes))}
    else:
        values = sorted({value for value in raw["train"] if value is not None and value != UNLABELLED})
        classes = tuple(map(str, values))
        index = {value: place for place, value in enumerate(values)}
    index |= {None: UNLABELLED, UNLABELLED: UNLABELLED}
    return classes, {part: _indices(name, part, values, index) for part, values in raw.items()}


def _indices(name: str, part: str, values: Sequence[Any], index: Mapping[Any, int]) -> npt.NDArray[np.int64]:
    try:
        return np.array([index[value] for value in values], dtype=np.int64)
    except KeyError as error:
        row = next(row for row, value in enumerate(values) if value not in index)
        raise DataError(
            f"data set {name}: row {row} of its {part} part has the label {values[row]!r}, which is no class "
            "of the training part: correct the label, or add training images of that class"
        ) from error


def _is_plain_label(feature: Any) -> bool:
    dtype = str(getattr(feature, "dtype", ""))
    return dtype.startswith(("int", "uint", "string", "large_string"))


def _choose(
    name: str, kind: str, wanted: str | None, found: Sequence[str], features: Mapping[str, Any]
) -> str:
    flag, columns = f"--{kind}-column", ", ".join(features)
    if wanted is not None:
        if wanted not in features:
            raise DataError(f"data set {name} has no column {wanted!r}: give {flag} one of {columns}")
        return wanted
    if not found:
        raise DataError(
            f"data set {name}: no column looks like the {kind}s; its columns are {columns}: name one "
            f"by {flag}"
        )
    if len(found) > 1:
        raise DataError(
            f"data set {name}: several columns may hold the {kind}s: {', '.join(found)}; choose one by {flag}"
        )
    return found[0]
