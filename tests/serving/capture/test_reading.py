"""Captured images are read in random order, those of one bundle, all or the labelled ones."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from serving.capture import reading
from serving.capture.capture import CapturedImage
from serving.capture.reading import find_captured
from serving.capture.store import FILE, CaptureStore
from serving.errors import CaptureError
from serving.telemetry.logs import get_logger
from tests.bundles import SIZE, tiny_images

SHAPE = (SIZE, SIZE, 3)
IMAGES = tiny_images(7)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    store = CaptureStore(tmp_path, most_images=100, most_bytes=10**6, logger=get_logger())
    for index, pixels in enumerate(IMAGES):
        store.keep(CapturedImage((index + 1) / 10, "mine", "pets", "0-ab-1", index, pixels))
    store.keep(CapturedImage(0.95, "other", "cats", None, 0, IMAGES[0]))
    store.label("mine", [("0-ab-1", 2, 3), ("0-ab-1", 5, 1)])
    store.close()
    return tmp_path


def test_all_images_come_in_batches(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 3)
    captured = find_captured(state, "mine", "pets")
    assert (captured.images, captured.labelled) == (7, 2)
    batches = list(captured.batches(SHAPE, labelled=False))
    assert [len(images) for images, _ in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), IMAGES)
    assert np.concatenate([labels for _, labels in batches]).tolist() == [-1, -1, 3, -1, -1, 1, -1]


def test_labelled_images_alone(state: Path) -> None:
    captured = find_captured(state / FILE, "mine", "pets")
    ((images, labels),) = captured.batches(SHAPE, labelled=True)
    np.testing.assert_array_equal(images, IMAGES[[2, 5]])
    assert labels.tolist() == [3, 1]


def test_of_another_bundle_there_are_none_and_the_others_are_named(state: Path) -> None:
    with pytest.raises(CaptureError, match=r"\('dogs', 0123abcd…\), found 1 of 'cats', 7 of 'pets'"):
        find_captured(state, "0123abcdef", "dogs")


def test_an_image_of_another_size_is_named(state: Path) -> None:
    captured = find_captured(state, "mine", "pets")
    with pytest.raises(CaptureError, match="expected images of 16 × 16, found one of 8 × 8"):
        list(captured.batches((16, 16, 3), labelled=False))


def test_a_folder_without_captured_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="expected the --state-dir of a server with --capture"):
        find_captured(tmp_path, "mine", "pets")


@pytest.mark.parametrize("text", [b"", b"no database" * 100])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE).write_bytes(text)
    with pytest.raises(CaptureError, match=r"captured\.sqlite: cannot be read"):
        find_captured(tmp_path, "mine", "pets")


def test_a_newer_format_is_named(state: Path) -> None:
    with sqlite3.connect(state / FILE) as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(CaptureError, match="expected format 1, found 2"):
        find_captured(state, "mine", "pets")
