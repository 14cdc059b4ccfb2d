"""Sources: what is one, what is none, and that all kinds give the same images in order."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.bulk.items import SourceError
from serving.bulk.opening import open_source
from serving.errors import ImageError
from tests.serving.bulk.sources import as_folder, as_parquet, as_tar, pngs
from tests.serving.hub.stand_in import StandIn

IMAGES = pngs(20)


@pytest.mark.parametrize("kind", ["folder", "parquet", "parquets", "tar", "tar.gz", "tars"])
@pytest.mark.parametrize("start", [0, 3, 9, 20])
def test_every_kind_gives_all_images_from_anywhere(tmp_path: Path, kind: str, start: int) -> None:
    place = tmp_path / "source"
    if kind == "folder":
        as_folder(place, IMAGES)
        (place / "labels.csv").write_text("a")
        (place / ".hidden.png").write_bytes(b"")
    elif kind == "parquet":
        place = as_parquet(tmp_path / "a.parquet", IMAGES)
    elif kind.startswith("tar") and kind != "tars":
        place = as_tar(tmp_path / f"a.{kind}", IMAGES, "w:gz" if kind.endswith("gz") else "w")
    else:
        place.mkdir()
        write, suffix = (as_parquet, "parquet") if kind == "parquets" else (as_tar, "tar")
        write(place / f"1.{suffix}", IMAGES[:8])
        write(place / f"2.{suffix}", IMAGES[8:])

    source = open_source(str(place))

    assert len(source) == 20
    assert [item.read() for item in source.items(start)] == IMAGES[start:]
    assert source.passed_over == {"folder": 1, "tar": 20, "tar.gz": 20, "tars": 20}.get(kind, 0)
    assert len({item.path for item in source.items(0)}) == (12 if kind == "parquets" else 20)


def test_rows_without_a_path_are_called_by_file_and_row(tmp_path: Path) -> None:
    source = open_source(str(as_parquet(tmp_path / "a.parquet", IMAGES, paths=False)))
    assert [item.path for item in source.items(18)] == ["a.parquet#18", "a.parquet#19"]


def test_a_null_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    source = open_source(str(as_parquet(tmp_path / "a.parquet", [IMAGES[0], None])))
    with pytest.raises(ImageError, match="found none in this row"):
        next(source.items(1)).read()


def test_files_chooses_among_the_files_of_a_folder(tmp_path: Path) -> None:
    as_parquet(tmp_path / "train-0.parquet", IMAGES[:5])
    as_parquet(tmp_path / "test-0.parquet", IMAGES[5:7])
    assert len(open_source(str(tmp_path), files="test-*")) == 2
    with pytest.raises(SourceError, match="holds no files that match 'x\\*'"):
        open_source(str(tmp_path), files="x*")


@pytest.mark.parametrize("kind", ["folder", "parquet", "tar"])
def test_an_image_of_too_many_bytes_cannot_be_read(tmp_path: Path, kind: str) -> None:
    made: dict[str, Callable[[Path, list[bytes]], Path]]
    made = {"folder": as_folder, "parquet": _parquet, "tar": as_tar}
    place = made[kind](tmp_path / f"a.{kind}", IMAGES[:1])
    source = open_source(str(place), max_bytes=10)
    with pytest.raises(ImageError, match="expected at most 10 bytes"):
        next(source.items(0)).read()


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.parquet").write_text("x")
    (tmp_path / "c.tar").write_text("x" * 2000)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("x")
    for name, said in {
        "a.txt": "expected a parquet file or a tar archive",
        "b.parquet": "expected a parquet file",
        "c.tar": "expected a tar archive that is whole",
        "empty": "holds no files",
        "other": "found none of them in its 1 files",
        "nothing": "no such file or folder",
    }.items():
        with pytest.raises(SourceError, match=said):
            open_source(str(tmp_path / name))


def test_two_kinds_in_a_folder_are_not_guessed_at(tmp_path: Path) -> None:
    as_folder(tmp_path / "in", IMAGES[:1])
    as_tar(tmp_path / "in" / "a.tar", IMAGES[:1])
    with pytest.raises(SourceError, match="found tar and image; choose by --files"):
        open_source(str(tmp_path / "in"))


def test_a_tar_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    file = as_tar(tmp_path / "a.tar", IMAGES)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(SourceError, match="whole"):
        open_source(str(file))


@pytest.mark.parametrize(
    ("columns", "wanted", "said"),
    [
        ({"a": [1]}, None, "found only a; name it with --column"),
        ({"a": [b""], "b": [b""]}, None, "found several \\(a, b\\)"),
        ({"a": [b""], "b": [1]}, "b", "expected a column 'b' of bytes"),
    ],
)
def test_the_column_is_found_or_asked_for(
    tmp_path: Path, columns: dict[str, list[object]], wanted: str | None, said: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=said):
        open_source(str(tmp_path / "a.parquet"), column=wanted)


def test_of_a_data_set_of_the_hub_only_the_files_that_are_read_are_downloaded(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {
        part: as_parquet(tmp_path / part, IMAGES[:3]).read_bytes()
        for part in ("test-0.parquet", "train-0.parquet")
    }
    hub.put("datasets/owner/name", {"README.md": b"# name", "data/notes.csv": b"1", **parts})
    assert len(open_source("owner/name", files="test-*")) == 3
    downloaded = {asked.rpartition("/")[2] for asked in hub.requests if "/resolve/" in asked}
    assert downloaded == {"test-0.parquet"}
    assert len(open_source("hf://datasets/owner/name@main")) == 6

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert len(open_source("owner/name")) == 6


def test_columns_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    as_parquet(tmp_path / "a.parquet", IMAGES[:1])
    pq.write_table(pa.table({"image": IMAGES[:1], "label": ["ant"]}), tmp_path / "b.parquet")
    as_tar(tmp_path / "c.tar", IMAGES[:1])
    for name, keep, said in (
        ("a.parquet", "id", "--keep: expected a column 'id' once; its columns are image, label"),
        (
            "",
            "label",
            "b.parquet: --keep: expected 'label' as int64, as in the files before it; found string",
        ),
        ("c.tar", "label", "--keep: only parquet files have columns"),
    ):
        with pytest.raises(SourceError, match=said):
            open_source(str(tmp_path / name), files="*.parquet", keep=(keep,))


@pytest.mark.parametrize(
    ("named", "most", "said"),
    [
        ("owner/none", 1000, "no such repository"),
        ("owner/words", 1000, "none of them in its 1 files"),
        ("owner/name", 9, "more than the 9 of --max-download"),
    ],
)
def test_a_data_set_of_the_hub_that_cannot_be_used_is_refused(
    hub: StandIn, named: str, most: int, said: str
) -> None:
    hub.put("datasets/owner/name", {"a.tar": b"x" * 10})
    hub.put("datasets/owner/words", {"a.txt": b"x"})
    with pytest.raises(SourceError, match=said):
        open_source(named, max_download=most)
    assert not [asked for asked in hub.requests if "/resolve/" in asked]


def _parquet(file: Path, images: list[bytes]) -> Path:
    return as_parquet(file, images)
