"""Small data sets on disk, and no network."""

from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

Picture = Callable[[int], Image.Image]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.fixture
def picture() -> Picture:
    """Return a function from a number to a 40x30 image of noise that is that number's alone."""

    def make(number: int) -> Image.Image:
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return make


@pytest.fixture
def image_folder(tmp_path: Path, picture: Picture) -> Path:
    """Return a folder of 3 classes with 10 PNGs each, the classes in train, ant and bee order on disk."""
    folder = tmp_path / "pictures"
    for place, name in enumerate(("train", "ant", "bee")):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            picture(100 * place + number).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def shards(tmp_path: Path, picture: Picture) -> Path:
    """Return a folder of parquet: 2 training shards of 20 rows, a test shard of 6; columns img and label."""
    folder = tmp_path / "shards"
    folder.mkdir()
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )

    def write(name: str, first: int, count: int) -> None:
        numbers = range(first, first + count)
        rows = {"img": [picture(n) for n in numbers], "label": [n % 2 for n in numbers]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / name)

    write("train-00000-of-00002.parquet", 0, 20)
    write("train-00001-of-00002.parquet", 20, 20)
    write("test-00000-of-00001.parquet", 40, 6)
    return folder
