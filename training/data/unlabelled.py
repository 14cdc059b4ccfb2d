"""Images without labels: a folder of them, sub-folders included, or parquet shards without a label column."""

from pathlib import Path

import datasets
import numpy as np

from training.data.columns import UNLABELLED, find_image_column
from training.data.folders import read_folder
from training.data.image_files import LeftOut, pictures_in
from training.data.source import Part, Source, load_source, only_images
from training.errors import DataError


def load_images(dataset: str, image_column: str | None = None, label_column: str | None = None) -> Source:
    """Open a data set that need not have labels, without decoding its images.

    Args:
        dataset: as for `load_source`, or a folder of images without one folder per class.
        image_column: the column of the images; None finds it from the features.
        label_column: the column of the labels, if there is one.

    Returns:
        The source; where it has no labels, `classes` is empty and every label is `UNLABELLED`.

    Raises:
        DataError: it cannot be found or read.
    """
    folder = Path(dataset).expanduser()
    if not folder.is_dir():
        return load_source(dataset, image_column, label_column)
    name = folder.resolve().name
    left_out = LeftOut()
    files = pictures_in(folder, left_out)
    if any(Path(file).parent == folder for file in files):
        left_out.tell(folder)
        features = datasets.Features({"image": datasets.Image()})
        return _unlabelled(name, datasets.Dataset.from_dict({"image": files}, features=features), "image")
    try:
        return load_source(dataset, image_column, label_column)
    except DataError:
        tables = read_folder(folder)
        features = tables["train"].features
        image = find_image_column(name, features, image_column)
        if set(features) - {image} and label_column is not None:
            raise
        return _unlabelled(name, tables["train"], image)


def _unlabelled(name: str, table: datasets.Dataset, column: str) -> Source:
    labels = np.full(len(table), UNLABELLED, np.int64)
    return Source(name, (), {"train": Part(name, only_images(name, table, column), labels)})
