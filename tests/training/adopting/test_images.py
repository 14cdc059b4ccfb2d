from pathlib import Path

import numpy as np

from serving.bundle import Preprocessing
from tests.training.adopting.pictures import folder
from training.adopting.config import AdoptingConfig
from training.adopting.images import ReadFeed, feed_of, open_images
from training.adopting.overlap import digests, warnings
from training.data.columns import UNLABELLED


def test_test_images_are_the_test_part_of_what_is_named(tmp_path: Path) -> None:
    folder(tmp_path / "both" / "train", 24)
    folder(tmp_path / "both" / "test", 12, seed=1)
    named = str(tmp_path / "both")
    opened = open_images(AdoptingConfig(dataset=named, test_dataset=named), trains=True)
    assert opened.test is not None
    assert (len(opened.train), len(opened.calibrate), len(opened.test)) == (24, 12, 12)


def test_few_labels_calibrate_and_images_without_labels_train(tmp_path: Path) -> None:
    named, more = str(folder(tmp_path / "few", 20)), str(folder(tmp_path / "more", 60, seed=1, flat=True))
    opened = open_images(AdoptingConfig(dataset=named, unlabelled=more), trains=True)
    assert opened.unlabelled is not None
    assert (len(opened.calibrate), len(opened.train), len(opened.unlabelled)) == (20, 30, 30)
    assert (opened.train.labels == UNLABELLED).all()
    assert not digests(opened.train) & digests(opened.unlabelled)
    cascade = open_images(AdoptingConfig(dataset=named, unlabelled=more), trains=False)
    assert cascade.unlabelled is not None
    assert (len(cascade.calibrate), len(cascade.unlabelled)) == (20, 60)


def test_many_labels_train_too_in_the_networks_order(tmp_path: Path) -> None:
    named, more = str(folder(tmp_path / "many", 80)), str(folder(tmp_path / "more", 8, seed=1, flat=True))
    opened = open_images(AdoptingConfig(dataset=named, unlabelled=more), trains=True)
    before = opened.train.labels
    turned = opened.in_order_of(opened.train.classes[::-1]).train.labels
    assert (len(opened.calibrate), len(opened.train)) == (40, 44)
    assert (before[:40] + turned[:40] == 3).all()
    assert (turned[40:] == UNLABELLED).all()


def test_images_without_labels_that_are_labelled_elsewhere_are_told(tmp_path: Path) -> None:
    named, more = str(folder(tmp_path / "few", 20)), str(folder(tmp_path / "more", 20, flat=True))
    opened = open_images(AdoptingConfig(dataset=named, unlabelled=more), trains=True)
    assert "of the calibration images" in warnings(opened, trains=True)[0]


def test_images_read_again_are_those_that_are_kept(tmp_path: Path) -> None:
    named = str(folder(tmp_path / "quarters", 40))
    pictures = open_images(AdoptingConfig(dataset=named), trains=False).calibrate
    spec, groups = Preprocessing(height=8, width=8), [np.arange(3, 40), np.array([2, 0])]
    both = (feed.batches(groups, None) for feed in (feed_of(pictures, spec), ReadFeed(pictures, spec)))
    for kept, read in zip(*both, strict=True):
        assert kept.images.equal(read.images)
        assert kept.labels.equal(read.labels)
    assert ReadFeed(pictures, spec).statistics(0) == feed_of(pictures, spec).statistics(0)
