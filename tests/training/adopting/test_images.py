from pathlib import Path

from tests.training.adopting.pictures import folder
from training.adopting.config import AdoptingConfig
from training.adopting.images import open_images


def test_test_images_are_the_test_part_of_what_is_named(tmp_path: Path) -> None:
    folder(tmp_path / "both" / "train", 24)
    folder(tmp_path / "both" / "test", 12, seed=1)
    named = str(tmp_path / "both")
    opened = open_images(AdoptingConfig(dataset=named, test_dataset=named), trains=True)
    assert opened.test is not None
    assert (len(opened.train), len(opened.calibrate), len(opened.test)) == (24, 12, 12)
