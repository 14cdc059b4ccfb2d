from pathlib import Path

import numpy as np
import pytest

from training.data.split import Split, make_split
from training.errors import ConfigError, DataError

CLASSES = ("a", "b", "c")
TRAIN = np.repeat(np.arange(3), 100).astype(np.int64)
TEST = np.repeat(np.arange(3), 20).astype(np.int64)


def split_of(
    labels: dict[str, np.ndarray], seed: int = 0, share: float = 0.1, limit: int | None = None
) -> Split:
    return make_split(labels, CLASSES, seed=seed, validation_share=share, train_limit=limit)


def test_a_train_only_source_is_cut_in_three() -> None:
    split = split_of({"train": TRAIN})
    assert (len(split.train), len(split.validation), len(split.test)) == (210, 30, 60)
    everything = np.concatenate([split.train.rows, split.validation.rows, split.test.rows])
    assert np.array_equal(np.sort(everything), np.arange(300))
    assert np.bincount(TRAIN[split.validation.rows]).tolist() == [10, 10, 10]


def test_parts_of_the_source_are_used_whole() -> None:
    split = split_of({"train": TRAIN, "validation": TEST[:30], "test": TEST})
    assert (len(split.train), len(split.validation), len(split.test)) == (300, 30, 60)
    assert (split.validation.part, split.test.part) == ("validation", "test")


def test_validation_is_drawn_from_train_where_only_test_is_there() -> None:
    split = split_of({"train": TRAIN, "test": TEST}, share=0.2)
    assert (split.validation.part, len(split.validation), len(split.train)) == ("train", 60, 240)
    assert not set(split.validation.rows) & set(split.train.rows)


def test_the_limit_moves_nothing_but_training_rows() -> None:
    whole, limited = split_of({"train": TRAIN}), split_of({"train": TRAIN}, limit=30)
    assert np.array_equal(whole.test.rows, limited.test.rows)
    assert np.array_equal(whole.validation.rows, limited.validation.rows)
    assert set(limited.train.rows) < set(whole.train.rows)
    assert np.bincount(TRAIN[limited.train.rows]).tolist() == [10, 10, 10]


def test_the_seed_decides() -> None:
    first, again, other = (split_of({"train": TRAIN}, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.validation.rows, again.validation.rows)
    assert not np.array_equal(first.validation.rows, other.validation.rows)


def test_a_stored_split_comes_back(tmp_path: Path) -> None:
    split = split_of({"train": TRAIN, "test": TEST}, seed=7)
    split.save(tmp_path / "split.npz")
    back = Split.load(tmp_path / "split.npz")
    for name in ("train", "validation", "test"):
        assert getattr(back, name).part == getattr(split, name).part
        assert np.array_equal(getattr(back, name).rows, getattr(split, name).rows)
    assert (back.fingerprint, back.seed) == (split.fingerprint, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["split.npz"]


@pytest.mark.parametrize("content", [b"", b"not a split", b"PK\x03\x04 broken"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "split.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"split\.npz: expected a stored split"):
        Split.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none that can be read"):
        Split.load(tmp_path / "split.npz")


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "split.npz", parts=np.array([object()], dtype=object))
    with pytest.raises(DataError, match="none that can be read"):
        Split.load(tmp_path / "split.npz")


def test_changed_data_are_found() -> None:
    labels = {"train": TRAIN, "test": TEST}
    split = split_of(labels)
    split.check("same", labels, CLASSES)
    moved = {**labels, "train": np.roll(TRAIN, 1)}
    with pytest.raises(DataError, match="data set moved: its labels or classes have changed"):
        split.check("moved", moved, CLASSES)
    with pytest.raises(DataError, match="start a new run"):
        split.check("renamed", labels, ("a", "c", "b"))


def test_a_limit_below_one_per_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="--train-limit 2: expected at least one image for each of 3"):
        split_of({"train": TRAIN}, limit=2)


def test_too_few_images_to_draw_from_are_refused() -> None:
    with pytest.raises(DataError, match="too few images to draw a test part"):
        split_of({"train": np.arange(3)})
