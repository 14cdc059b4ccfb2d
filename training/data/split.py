"""One seeded split into training, validation and test, stored with the run and the same for every method."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from serving.system.atomic import replacing
from training.data.config import ValidationFrom
from training.data.seeds import generator
from training.data.stratify import stratified
from training.errors import ConfigError, DataError

Ints = npt.NDArray[np.int64]
PartName = Literal["train", "validation", "test"]

TEST_SHARE = 0.2
"""Share of a source without a test part that is drawn for one."""


@dataclass(frozen=True, eq=False)
class Subset:
    """Some rows of one part of the source.

    Args:
        part: the source's own part the rows come from ("train", "validation" or "test").
        rows: int64 [n], ascending.
    """

    part: str
    rows: Ints

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Split:
    """Which rows are trained on, validated on and tested on.

    Args:
        train: rows to train on.
        validation: rows for calibration and for watching a run; never trained on.
        test: rows for the final figures.
        fingerprint: of the labels the split was drawn for; see `fingerprint`.
        seed: what it was drawn with.
    """

    train: Subset
    validation: Subset
    test: Subset
    fingerprint: str
    seed: int

    def save(self, path: Path) -> None:
        """Write the split as npz without pickles; an existing file is replaced in one step."""
        parts = (self.train, self.validation, self.test)
        with replacing(path) as file:
            np.savez_compressed(
                file,
                train=self.train.rows,
                validation=self.validation.rows,
                test=self.test.rows,
                parts=np.array([subset.part for subset in parts]),
                fingerprint=np.array(self.fingerprint),
                seed=np.array(self.seed, dtype=np.int64),
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing, damaged, or no split.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                parts = [str(part) for part in stored["parts"]]
                rows = [stored[name].astype(np.int64) for name in ("train", "validation", "test")]
                train, validation, test = (Subset(*pair) for pair in zip(parts, rows, strict=True))
                if any(
                    subset.rows.ndim != 1 or (np.diff(subset.rows) <= 0).any()
                    for subset in (train, validation, test)
                ):
                    raise ValueError("rows that do not ascend")
                return cls(train, validation, test, str(stored["fingerprint"]), int(stored["seed"]))
        except Exception as error:  # zipfile and NumPy's parsers raise whatever damage makes them trip over
            raise DataError(
                f"{path}: expected a stored split, found none that can be read ({type(error).__name__}); "
                "copy the file from where the run was made"
            ) from error

    def check(self, name: str, labels: Mapping[str, Ints], classes: Sequence[str]) -> None:
        """Refuse a data set that is not the one this split was drawn for.

        Args:
            name: the data set's name, for the message.
            labels: int64 [N] per part of the source.
            classes: the class names, in label order.

        Raises:
            DataError: the labels, their order or the class names differ.
        """
        for subset in (self.train, self.validation, self.test):
            rows = subset.rows
            if subset.part not in labels or (
                rows.size and (rows[0] < 0 or rows[-1] >= len(labels[subset.part]))
            ):
                raise DataError(
                    f"data set {name}: the stored split names images that are not there: copy split.npz from "
                    "where the run was made"
                )
        found = fingerprint(labels, classes)
        if found != self.fingerprint:
            raise DataError(
                f"data set {name}: its labels or classes have changed since the stored split was drawn "
                f"(fingerprint {found[:12]}, expected {self.fingerprint[:12]}): give the data set the run "
                "was trained on, or start a new run"
            )


def fingerprint(labels: Mapping[str, Ints], classes: Sequence[str]) -> str:
    """Hash the labels of every part in row order, and the class names.

    Pixels are not hashed: reading them all would cost a whole pass over the data at every start.

    Args:
        labels: int64 [N] per part of the source.
        classes: the class names, in label order.
    """
    digest = hashlib.sha256(repr(tuple(classes)).encode())
    for part in sorted(labels):
        digest.update(f"{part} {len(labels[part])} ".encode())
        digest.update(np.ascontiguousarray(labels[part], dtype="<i8").tobytes())
    return digest.hexdigest()


def certifying_half(images: int, seed: int) -> npt.NDArray[np.bool_]:
    """Draw the validation images that guarantees rest on, bool [images]: a random half.

    No choice may look at them: temperatures, policies, layers kept in float, epochs, recipes.

    Args:
        images: of the validation part, in stored order.
        seed: of the split.
    """
    return np.random.default_rng(seed).permutation(images) < images // 2


def counts_fingerprint(labels: Mapping[str, Ints], classes: Sequence[str]) -> str:
    """Hash how many images of each class every part has: the same, in whatever order the rows are.

    Args:
        labels: int64 [N] per part of the source.
        classes: the class names, in label order.
    """
    counts = {
        part: sorted(zip(classes, np.bincount(labels[part], minlength=len(classes)).tolist(), strict=True))
        for part in sorted(labels)
    }
    return hashlib.sha256(repr(counts).encode()).hexdigest()


def make_split(
    labels: Mapping[str, Ints],
    classes: Sequence[str],
    *,
    seed: int,
    validation_share: float,
    train_limit: int | None,
    validation_from: ValidationFrom = "train",
) -> Split:
    """Draw the split: a part that the source has is used whole, a missing one is drawn from its train part.

    With `validation_from` at "test" the validation rows are drawn from the test part and no longer tested
    on, and the train part stays whole: it was trained on before there was a split.

    Every draw is stratified, and leaves each class in the training rows. The test rows are drawn first, then
    the validation rows, then the limit, each from a stream of its own: changing the limit moves no image
    between training, validation and test.

    Args:
        labels: int64 [N] per part of the source; "train" is always there.
        classes: the class names, in label order.
        seed: what the draws depend on.
        validation_share: share of that part's rows drawn for validation, between 0 and 0.8.
        train_limit: how many training rows to keep; None keeps all.
        validation_from: the part that they are drawn from.

    Raises:
        ConfigError: the limit is below one image per class, or there is no test part to draw from.
        DataError: too few images to draw from.
    """
    train_labels = labels["train"]
    if validation_from == "test":
        return _test_divided(labels, classes, seed, validation_share)
    left = np.arange(len(train_labels), dtype=np.int64)

    def draw(name: PartName, share: float) -> Subset:
        nonlocal left
        if name in labels:
            return Subset(name, np.arange(len(labels[name]), dtype=np.int64))
        count = max(1, round(share * len(train_labels)))
        chosen = stratified(train_labels[left], count, generator(seed, "split", name), keep=1)
        if not len(chosen):
            raise DataError(
                f"too few images to draw a {name} part from: found {len(left)} in {len(classes)} classes, "
                "expected at least two images in some class; add images"
            )
        drawn = left[chosen]
        left = np.setdiff1d(left, drawn, assume_unique=True)
        return Subset("train", drawn)

    test = draw("test", TEST_SHARE)
    validation = draw("validation", validation_share)
    if train_limit is not None and train_limit < len(left):
        if train_limit < len(classes):
            raise ConfigError(
                f"--train-limit {train_limit}: expected at least one image for each of {len(classes)} classes"
            )
        left = left[stratified(train_labels[left], train_limit, generator(seed, "split", "limit"), least=1)]
    return Split(Subset("train", left), validation, test, fingerprint(labels, classes), seed)


def _test_divided(
    labels: Mapping[str, Ints], classes: Sequence[str], seed: int, validation_share: float
) -> Split:
    if "test" not in labels:
        raise ConfigError(
            f"--validation-from test: expected a data set with a test part, found {', '.join(labels)} alone"
        )
    count = max(1, round(validation_share * len(labels["test"])))
    chosen = np.sort(stratified(labels["test"], count, generator(seed, "split", "validation"), keep=1))
    rest = np.setdiff1d(np.arange(len(labels["test"]), dtype=np.int64), chosen, assume_unique=True)
    train = np.arange(len(labels["train"]), dtype=np.int64)
    return Split(
        Subset("train", train),
        Subset("test", chosen.astype(np.int64)),
        Subset("test", rest),
        fingerprint(labels, classes),
        seed,
    )
