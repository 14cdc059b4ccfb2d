"""What users' folders look like, and what is made of them."""

import logging
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from serving.images.still import Still
from tests.training.data.conftest import Picture
from training.calibration.chance import hint_at_chance
from training.data.config import DataConfig
from training.data.images import read_image
from training.data.opening import open_data
from training.data.source import Source, load_source
from training.errors import DataError


@pytest.fixture
def split_folder(image_folder: Path, tmp_path: Path) -> Path:
    """Return a folder with train and test folders of the same classes and images."""
    for part in ("train", "test"):
        shutil.copytree(image_folder, tmp_path / "split" / part)
    return tmp_path / "split"


def whole(still: Still) -> np.ndarray:
    return np.asarray(still.decode(None))


def counts(source: Source) -> dict[str, int]:
    return {name: len(part.labels) for name, part in source.parts.items()}


@pytest.mark.parametrize("beside", ["unlabeled", "samples", "__MACOSX", "annotations", ".cache"])
def test_a_folder_beside_the_parts_is_left_out_and_named(
    split_folder: Path, picture: Picture, caplog: pytest.LogCaptureFixture, beside: str
) -> None:
    (split_folder / beside).mkdir()
    picture(1).save(split_folder / beside / "1.png")
    source = load_source(str(split_folder))
    assert source.classes == ("ant", "bee", "train")
    assert counts(source) == {"train": 30, "test": 30}
    hidden = beside.startswith((".", "__"))
    assert hidden or f"the folders {beside} beside test, train are left out" in caplog.text


def test_parts_and_classes_in_one_folder_are_refused_where_both_may_be_meant(
    image_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(image_folder, folder / "train")
    shutil.copytree(image_folder / "ant", folder / "wasp")
    with pytest.raises(DataError, match=r"not clear whether train are parts .* or classes beside wasp"):
        load_source(str(folder))


def test_classes_called_like_parts_are_classes(image_folder: Path) -> None:
    (image_folder / "bee").rename(image_folder / "test")
    assert load_source(str(image_folder)).classes == ("ant", "test", "train")


def test_what_is_left_out_is_counted_with_the_reason(
    image_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ant = image_folder / "ant"
    checkpoints = ant / ".ipynb_checkpoints"
    checkpoints.mkdir()
    shutil.copy(ant / "0.png", checkpoints / "0-checkpoint.png")
    (ant / "._0.png").write_bytes(b"\0\5\x16\7")
    (ant / "0.heic").write_bytes(b"\0")
    (ant / "1.heic").write_bytes(b"\0")
    (ant / "notes").write_text("nothing")
    (image_folder / "labels.csv").write_text("")
    assert counts(load_source(str(image_folder))) == {"train": 30}
    assert "6 files were left out: 2 .heic (not read)" in caplog.text
    for reason in ("1 in .ipynb_checkpoints", "1 with a name that starts with a dot", "1 without an ending"):
        assert reason in caplog.text
    assert "1 beside the folders of the classes" in caplog.text


def test_hidden_files_are_counted_at_every_level(
    split_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place in (split_folder, split_folder / "train", split_folder / "test" / "ant"):
        (place / ".ipynb_checkpoints").mkdir()
        (place / ".ipynb_checkpoints" / "0.png").write_bytes(b"")
        (place / ".DS_Store").write_bytes(b"")
    (split_folder / "__MACOSX" / "train").mkdir(parents=True)
    (split_folder / "__MACOSX" / "train" / "._0.png").write_bytes(b"")
    (split_folder / "labels.csv").write_text("")
    assert counts(load_source(str(split_folder))) == {"train": 30, "test": 30}
    assert "8 files were left out" in caplog.text
    for reason in ("3 in .ipynb_checkpoints", "3 with a name that starts with a dot", "1 in __MACOSX"):
        assert reason in caplog.text
    assert "1 beside test and train" in caplog.text


def test_what_is_no_file_is_left_out_and_counted(
    image_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A pipe would be read for ever, and a link to nothing would end a training hours after its start."""
    os.mkfifo(image_folder / "ant" / "pipe.png")
    (image_folder / "ant" / "gone.png").symlink_to(image_folder / "nowhere.png")
    assert counts(load_source(str(image_folder))) == {"train": 30}
    assert "1 no regular file" in caplog.text
    assert "1 a link to nothing" in caplog.text


def test_nothing_is_said_where_nothing_is_left_out(
    image_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_source(str(image_folder))
    assert caplog.text == ""


def test_all_endings_and_none_are_read(image_folder: Path, picture: Picture) -> None:
    picture(1).save(image_folder / "ant" / "a.jfif", "JPEG")
    picture(1).save(image_folder / "ant" / "b.avif")
    picture(1).save(image_folder / "ant" / "c.JPEG")
    picture(1).save(image_folder / "ant" / "d", "PNG")
    part = load_source(str(image_folder)).parts["train"]
    assert len(part.labels) == 34
    shapes = {read_image(part, row, whole).shape for row in range(len(part.labels))}
    assert shapes == {(30, 40, 3)}


def test_linked_folders_and_files_are_read_once_in_a_circle(image_folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (image_folder / "bee").rename(outside)
    (image_folder / "bee").symlink_to(outside)
    (tmp_path / "more").mkdir()
    shutil.copy(outside / "0.png", tmp_path / "more" / "x.png")
    (outside / "more").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "back").symlink_to(outside)
    (outside / "y.png").symlink_to(outside / "1.png")
    assert load_source(str(image_folder)).parts["train"].labels.tolist().count(1) == 12


NFC, NFD = (unicodedata.normalize(form, "fée") for form in ("NFC", "NFD"))


def test_a_name_is_the_same_class_however_it_is_written(split_folder: Path) -> None:
    (split_folder / "train" / "bee").rename(split_folder / "train" / NFD)
    (split_folder / "test" / "bee").rename(split_folder / "test" / NFC)
    source = load_source(str(split_folder))
    assert source.classes == ("ant", NFC, "train")
    assert counts(source) == {"train": 30, "test": 30}


def test_two_names_that_look_the_same_are_refused(image_folder: Path) -> None:
    (image_folder / "ant").rename(image_folder / NFC)
    (image_folder / "bee").rename(image_folder / NFD)
    with pytest.raises(DataError, match=r"two folders look the same, 'fe\\u0301e' and 'f\\xe9e'"):
        load_source(str(image_folder))


@pytest.mark.parametrize("name", ["ant ", " ant", "a\u200bnt", "ant\ufeff", "ant\u00a0"])
def test_names_that_differ_in_what_does_not_show_are_refused(image_folder: Path, name: str) -> None:
    (image_folder / "bee").rename(image_folder / name)
    with pytest.raises(DataError, match="two folders look the same"):
        load_source(str(image_folder))


def test_shards_with_a_leading_dot_are_none(shards: Path) -> None:
    (shards / "._train-00000-of-00002.parquet").write_bytes(b"\0\5\x16\7")
    assert counts(load_source(str(shards)))["train"]


def test_colons_in_a_path_are_no_archive(image_folder: Path) -> None:
    (image_folder / "ant" / "0.png").rename(image_folder / "ant" / "a::b.png")
    (image_folder / "bee").rename(image_folder / "Apis::mellifera")
    part = load_source(str(image_folder)).parts["train"]
    for row in range(30):
        read_image(part, row, whole)


@pytest.mark.parametrize("what", ["class", "file"])
def test_a_name_that_is_not_utf_8_is_refused(image_folder: Path, what: str) -> None:
    place = image_folder / "ant" if what == "class" else image_folder / "ant" / "0.png"
    os.rename(os.fsencode(place), os.fsencode(place) + b"\xff")  # noqa: PTH104 - pathlib has no such name
    if what == "file":
        os.rename(os.fsencode(place) + b"\xff", os.fsencode(place)[:-4] + b"\xff.png")  # noqa: PTH104
    with pytest.raises(DataError, match="expected a name in UTF-8: rename it"):
        load_source(str(image_folder))


def test_copies_in_training_and_test_are_named(split_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = DataConfig(dataset=str(split_folder))
    with caplog.at_level(logging.WARNING):
        open_data(config, batch_size=4, seed=0)
    assert "split: 30 pictures are in more than one of training, validation and test" in caplog.text
    assert "0.png" in caplog.text


def test_copies_in_training_and_a_drawn_validation_are_named(
    image_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        for copy in range(4):
            shutil.copy(image_folder / "ant" / f"{number}.png", image_folder / "ant" / f"{number}-{copy}.png")
    open_data(DataConfig(dataset=str(image_folder)), batch_size=4, seed=0)
    assert "pictures are in more than one of" in caplog.text


def test_pictures_of_one_length_are_no_copies(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, picture: Picture
) -> None:
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / "raw" / part / name).mkdir(parents=True)
            for number in range(6):
                seed = 100 * (part == "test") + 10 * (name == "ant") + number
                picture(seed).save(tmp_path / "raw" / part / name / f"{number}.bmp")
    open_data(DataConfig(dataset=str(tmp_path / "raw")), batch_size=4, seed=0)
    assert caplog.text == ""


def test_copies_in_shards_are_named(shards: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(shards / "test-00000-of-00001.parquet", shards / "train-00002-of-00002.parquet")
    open_data(DataConfig(dataset=str(shards)), batch_size=4, seed=0)
    assert "pictures are in more than one of" in caplog.text
    assert "of shards test" in caplog.text


@pytest.mark.parametrize(
    ("accuracy", "classes", "images", "told"),
    [
        (0.1, 10, 1000, True),
        (0.02, 10, 1000, True),
        (0.5, 10, 1000, False),
        (0.5, 2, 100, True),
        (0.1, 10, 9, False),
    ],
)
def test_an_accuracy_of_guessing_is_told(accuracy: float, classes: int, images: int, told: bool) -> None:
    hint = hint_at_chance(accuracy, classes, images)
    assert (hint is not None) == told
    assert hint is None or "in the order that the network was trained on" in hint
