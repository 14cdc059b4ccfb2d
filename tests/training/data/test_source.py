import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from training.data.columns import find_label_column
from training.data.source import ALIASES, assemble, load_source
from training.errors import DataError

IMAGE = datasets.Image()


def table(labels: list[Any], feature: Any, **columns: Any) -> datasets.Dataset:
    """A table of tiny images with a label column, and further columns as name=feature, filled with labels."""
    rows = {"image": [Image.new("L", (2, 2))] * len(labels), "label": labels}
    features = {"image": IMAGE, "label": feature}
    for name, more in columns.items():
        rows[name], features[name] = labels, more
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


CAT_DOG = datasets.ClassLabel(names=["cat", "dog"])


def test_digits_need_no_network() -> None:
    source = load_source("digits")
    assert source.classes == tuple("0123456789")
    assert list(source.parts) == ["train"]
    assert len(source.parts["train"].labels) == 1797


def test_a_folder_of_classes_may_hold_a_class_called_train(image_folder: Path) -> None:
    source = load_source(str(image_folder))
    assert (source.name, source.classes) == ("pictures", ("ant", "bee", "train"))
    assert list(source.parts) == ["train"]
    assert source.parts["train"].labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert source.parts["train"].images[10]["image"]["path"].endswith("bee/0.png")


def test_a_folder_may_have_its_parts(image_folder: Path, tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        shutil.copytree(image_folder, tmp_path / "split" / part)
    source = load_source(str(tmp_path / "split"))
    assert sorted(source.parts) == ["test", "train", "validation"]
    assert all(len(part.labels) == 30 for part in source.parts.values())


def test_a_class_that_is_only_tested_is_refused(image_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(image_folder, tmp_path / "split" / "train")
    shutil.copytree(image_folder, tmp_path / "split" / "test")
    (tmp_path / "split" / "test" / "ant").rename(tmp_path / "split" / "test" / "wasp")
    with pytest.raises(DataError, match="no training images for its classes wasp"):
        load_source(str(tmp_path / "split"))


def test_parquet_shards_are_joined_in_order(shards: Path) -> None:
    source = load_source(str(shards))
    assert (source.name, source.classes, sorted(source.parts)) == (
        "shards",
        ("cat", "dog"),
        ["test", "train"],
    )
    assert source.parts["train"].labels.tolist() == [0, 1] * 20


def test_shards_in_the_data_folder_of_a_clone_are_found(shards: Path) -> None:
    (shards / "data").mkdir()
    for file in shards.glob("*.parquet"):
        file.rename(shards / "data" / file.name)
    assert len(load_source(str(shards)).parts["test"].labels) == 6


def test_broken_parquet_is_named(shards: Path) -> None:
    (shards / "test-00000-of-00001.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet cannot be read"):
        load_source(str(shards))


def test_shards_without_training_are_refused(shards: Path) -> None:
    for file in shards.glob("train-*"):
        file.unlink()
    with pytest.raises(DataError, match=r"expected train-\*\.parquet, found only test"):
        load_source(str(shards))


def test_parquet_above_the_limit_goes_through_the_cache(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = load_source(str(shards))
    monkeypatch.setattr("training.data.folders.IN_MEMORY_BYTES", 0)
    cached = load_source(str(shards))
    assert cached.parts["train"].labels.tolist() == direct.parts["train"].labels.tolist()
    assert cached.parts["train"].images[7] == direct.parts["train"].images[7]


@pytest.mark.parametrize(
    ("feature", "labels", "classes", "indices"),
    [
        (datasets.Value("int64"), [0, 1, 2, 0], ("0", "1", "2"), [0, 1, 2, 0]),
        (datasets.Value("int8"), [3, 30, 3, 7], ("3", "7", "30"), [0, 2, 0, 1]),
        (datasets.Value("string"), ["dog", "cat", "dog", "ant"], ("ant", "cat", "dog"), [2, 1, 2, 0]),
    ],
)
def test_plain_labels_are_mapped_in_order(
    feature: Any, labels: list[Any], classes: tuple[str, ...], indices: list[int]
) -> None:
    source = assemble("plain", {"train": table(labels, feature)})
    assert source.classes == classes
    assert source.parts["train"].labels.tolist() == indices


def test_several_label_columns_want_a_flag() -> None:
    tables = {"train": table([0, 1], CAT_DOG, coarse=CAT_DOG)}
    with pytest.raises(DataError, match=r"may hold the labels: label, coarse; choose one by --label-column"):
        assemble("two", tables)
    assert assemble("two", tables, label_column="coarse").classes == ("cat", "dog")


def test_several_image_columns_want_a_flag() -> None:
    tables = {"train": table([0, 1], CAT_DOG).map(lambda row: {"mask": row["image"]})}
    with pytest.raises(DataError, match=r"may hold the images: image, mask; choose one by --image-column"):
        assemble("two", tables)
    assert assemble("two", tables, image_column="mask").parts["train"].images.column_names == ["image"]


def test_structs_of_bytes_serve_as_images_without_the_feature() -> None:
    plain = table([0, 1], CAT_DOG).cast_column("image", datasets.Image(decode=False))
    features = plain.features.copy()
    features["image"] = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    source = assemble("plain", {"train": plain.cast(features)})
    assert isinstance(source.parts["train"].images.features["image"], datasets.Image)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image_column": "picture"}, "no column 'picture': give --image-column one of image, label"),
        ({"label_column": "class"}, "no column 'class': give --label-column one of label"),
        ({"image_column": "label"}, "'label' .* holds no images"),
    ],
)
def test_wrong_columns_are_refused(columns: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        assemble(
            "set", {"train": table([0, 1], CAT_DOG, other=CAT_DOG)}, **{"label_column": "other", **columns}
        )


def test_no_image_column_is_said() -> None:
    tables = {"train": datasets.Dataset.from_dict({"text": ["a"], "label": [0]})}
    with pytest.raises(DataError, match="no column looks like the images; its columns are text, label"):
        assemble("words", tables)


def test_several_classes_per_image_are_refused() -> None:
    features = {"tags": datasets.List(CAT_DOG), "size": datasets.Value("float32")}
    with pytest.raises(DataError, match="expected one class per image, found List"):
        find_label_column("tags", features, "tags")


def test_a_hidden_test_part_gives_way_to_validation() -> None:
    tables = {
        "train": table([0, 1, 0], CAT_DOG),
        "validation": table([1, 0], CAT_DOG),
        "test": table([-1, -1], CAT_DOG),
    }
    source = assemble("hidden", tables)
    assert sorted(source.parts) == ["test", "train"]
    assert source.parts["test"].labels.tolist() == [1, 0]


def test_a_test_part_without_the_label_column_counts_as_hidden() -> None:
    tables = {"train": table([0, 1], CAT_DOG), "test": table([0], CAT_DOG).remove_columns("label")}
    assert list(assemble("hidden", tables).parts) == ["train"]


@pytest.mark.parametrize("missing", [-1, None])
def test_single_unlabelled_images_are_named_by_row(missing: int | None) -> None:
    with pytest.raises(DataError, match="set train: 1 of 3 images have no label, the first in row 1"):
        assemble("set", {"train": table([0, missing, 1], CAT_DOG)})


def test_an_unknown_label_is_named_by_row() -> None:
    value = datasets.Value("string")
    with pytest.raises(DataError, match="row 1 of its test part has the label 'eel'"):
        assemble("set", {"train": table(["ant", "bee"], value), "test": table(["ant", "eel"], value)})


def test_an_empty_class_is_named() -> None:
    feature = datasets.ClassLabel(names=["cat", "dog", "eel"])
    with pytest.raises(DataError, match="no training images for 1 of its 3 classes: eel"):
        assemble("set", {"train": table([0, 1], feature)})


def test_one_class_is_no_classification(image_folder: Path) -> None:
    for name in ("train", "ant"):
        shutil.rmtree(image_folder / name)
    with pytest.raises(DataError, match=r"expected at least two classes, found 1 \(bee\)"):
        load_source(str(image_folder))


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected parquet files, or one sub-folder of images per class"):
        load_source(str(tmp_path))


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "a/b/c"])
def test_a_missing_folder_is_not_asked_of_the_hub(name: str) -> None:
    with pytest.raises(DataError, match="expected a folder, found none"):
        load_source(name)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").touch()
    with pytest.raises(DataError, match="expected a folder, found a file"):
        load_source(str(tmp_path / "x.parquet"))


def test_an_unreachable_hub_says_what_to_do() -> None:
    with pytest.raises(
        DataError, match=r"Hub cannot be reached for uoft-cs/cifar10 .*connect once, or give a"
    ):
        load_source("cifar10")


def test_short_names_bring_their_label_column(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, config: str | None) -> datasets.DatasetDict:
        asked.append((name, config))
        fine = table([0, 1], CAT_DOG, fine_label=CAT_DOG, coarse_label=CAT_DOG).remove_columns("label")
        return datasets.DatasetDict({"train": fine, "extra": fine})

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = load_source("cifar100")
    assert (source.name, list(source.parts)) == (ALIASES["cifar100"], ["train"])
    with pytest.raises(DataError, match="fine_label, coarse_label"):
        load_source("uoft-cs/cifar100:plain")
    assert asked == [("uoft-cs/cifar100", None), ("uoft-cs/cifar100", "plain")]


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (FileNotFoundError("Dataset 'x/y' doesn't exist"), "neither a folder here nor a data set"),
        (ValueError("Config name is missing"), "Config name is missing.*choose one by name:config"),
    ],
)
def test_what_the_hub_refuses_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, message: str
) -> None:
    def load(name: str, config: str | None) -> datasets.DatasetDict:
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError, match=message):
        load_source("x/y")


@pytest.mark.parametrize(
    ("name", "count", "label"), [("cifar10", 10, "airplane"), ("cifar100", 100, "apple")]
)
def test_real_cifar(cifar_root: Path, name: str, count: int, label: str) -> None:
    source = load_source(str(cifar_root / name))
    assert (len(source.classes), source.classes[0]) == (count, label)
    assert np.bincount(source.parts["train"].labels).tolist() == [50_000 // count] * count
    assert np.bincount(source.parts["test"].labels).tolist() == [10_000 // count] * count
