"""Folders of images for the classes of the tiny bundle."""

from pathlib import Path

from PIL import Image

from tests.bundles import CLASSES, tiny_images


def animals(root: Path, *, train: int, test: int) -> Path:
    """Write so many images of each class below `root`, and return it."""
    for part, each in (("train", train), ("test", test)):
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index, pixels in enumerate(tiny_images(each, seed=label)):
                Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return root
