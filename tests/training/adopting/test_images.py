from pathlib import Path

import numpy as np

from serving.bundle import Preprocessing
from tests.training.adopting.pictures import folder
from training.adopting.config import AdoptingConfig
from training.adopting.images import ReadFeed, feed_of, open_images


def test_test_images_are_the_test_part_of_what_is_named(tmp_path: Path) -> None:
    folder(tmp_path / "both" / "train", 24)
    folder(tmp_path / "both" / "test", 12, seed=1)
    named = str(tmp_path / "both")
    opened = open_images(AdoptingConfig(dataset=named, test_dataset=named), trains=True)
    assert opened.test is not None
    assert (len(opened.train), len(opened.calibrate), len(opened.test)) == (24, 12, 12)


def test_images_read_again_are_those_that_are_kept(tmp_path: Path) -> None:
    named = str(folder(tmp_path / "quarters", 40))
    pictures = open_images(AdoptingConfig(dataset=named), trains=False).calibrate
    spec, groups = Preprocessing(height=8, width=8), [np.arange(3, 40), np.array([2, 0])]
    both = (feed.batches(groups, None) for feed in (feed_of(pictures, spec), ReadFeed(pictures, spec)))
    for kept, read in zip(*both, strict=True):
        assert kept.images.equal(read.images)
        assert kept.labels.equal(read.labels)
    assert ReadFeed(pictures, spec).statistics(0) == feed_of(pictures, spec).statistics(0)
