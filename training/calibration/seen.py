"""The images of a data set that a bundle's network was trained on, as far as its manifest shows.

Certified risk on images that the network was fitted to says nothing of traffic: the two are not exchangeable
(Jazbec et al., *Fast yet Safe: Early-Exiting with Risk Control*, NeurIPS 2024, section 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from serving.bundle import DataSet
from training.data.source import Source
from training.data.split import Ints, Split, Subset, counts_fingerprint, fingerprint, make_split
from training.errors import ConfigError, DataError

Kinship = Literal["same", "shuffled", "other"]


@dataclass(frozen=True, eq=False)
class Seen:
    """The part of a data set that a network was trained on.

    Args:
        kinship: "same" where the data set is, row by row, the one that the network was trained on; "shuffled"
            where it has the same images in an order that is not known; "other" where it is another.
        split: the training run's own, where the data set is the same.
        share: of the images of the part "train", those that were trained on.
    """

    kinship: Kinship
    split: Split | None
    share: float

    def count(self, subsets: Sequence[Subset]) -> int:
        """Number of these images that were trained on; estimated by the share if the order is unknown."""
        return sum(self._count(subset) for subset in subsets)

    def _count(self, subset: Subset) -> int:
        if self.split is not None:
            train = self.split.train
            same = subset.part == train.part
            return int(np.isin(subset.rows, train.rows, assume_unique=True).sum()) if same else 0
        return round(self.share * len(subset)) if subset.part == "train" else 0


def seen(trained_on: DataSet, source: Source) -> Seen:
    """Compare a data set with the one that a manifest names.

    Fingerprints of the labels decide (pixels are not hashed: rows that change places within a class go
    unnoticed). Manifests made before fingerprints were written have the name instead.

    Args:
        trained_on: of the bundle's manifest.
        source: what is to be calibrated on.
    """
    labels, classes = source.labels, source.classes
    images = trained_on.train_images
    share = min(1.0, (images or len(labels["train"])) / len(labels["train"]))
    if trained_on.fingerprint is None:
        if source.name != trained_on.name:
            return Seen("other", None, 0.0)
        split = _split(trained_on, labels, classes)
        return Seen("shuffled", None, share) if split is None else Seen("same", split, share)
    if fingerprint(labels, classes) == trained_on.fingerprint:
        split = _split(trained_on, labels, classes)
        return Seen("shuffled", None, share) if split is None else Seen("same", split, share)
    same_counts = counts_fingerprint(labels, classes) == trained_on.counts_fingerprint
    return Seen("shuffled", None, share) if same_counts else Seen("other", None, 0.0)


def _split(trained_on: DataSet, labels: dict[str, Ints], classes: Sequence[str]) -> Split | None:
    """Draw the training run's split again; None where it cannot have been drawn from these labels."""
    seed, train, validation = (
        trained_on.split_seed,
        trained_on.train_images,
        trained_on.validation_images,
    )
    if seed is None or train is None or validation is None:
        return None
    on_test = trained_on.calibrated_on_test
    share = on_test or trained_on.validation_share or validation / len(labels["train"])
    try:
        split = make_split(
            labels,
            classes,
            seed=seed,
            validation_share=share,
            train_limit=train,
            validation_from="train" if on_test is None else "test",
        )
    except (ConfigError, DataError):
        return None
    return split if (len(split.train), len(split.validation)) == (train, validation) else None
