"""Bundles and state files that earlier versions wrote are found, read and answered from; in `made_before/`.

Each folder has a bundle, and the state directory of a server that had answered 400 images under 40% of it.

    format-1    revision 735f495: the first layout in packages; no names in state files, no labels yet
    format-2    revision c4fe3c7: every key of format 2, labels (as SQL: a database of SQLite has empty pages)

None of these files may change: a version that does not read them any more says so in docs/upgrading.md.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.bundle import read_bundle
from serving.bundle_check import check_bundle
from serving.errors import BundleError
from serving.model import Model
from serving.monitoring.label_book import Label, LabelBook
from serving.monitoring.label_store import FILE, LabelStore
from serving.monitoring.state import StateFolder
from serving.telemetry.logs import get_logger
from tests.bundles import tiny_images

MADE_BEFORE = Path(__file__).parent / "made_before"
LOG_FACTOR = {"format-1": 0.7174873228544433, "format-2": 0.7203630197053014}
AT = 1.8e9
"""Seconds since the epoch at which labels were noted."""


@pytest.fixture(params=LOG_FACTOR)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder: Path = shutil.copytree(MADE_BEFORE / request.param, tmp_path / request.param)
    return folder


@pytest.fixture
def pets(made: Path) -> Iterator[Model]:
    with Model.load(made / "models" / "pets", threads=1) as model:
        yield model


def test_all_of_them_are_tested() -> None:
    assert {path.name for path in MADE_BEFORE.iterdir()} == set(LOG_FACTOR)


def test_a_bundle_passes_every_check(made: Path) -> None:
    assert [found for found in check_bundle(made / "models" / "pets") if not found.ok] == []


def test_a_bundle_answers_as_it_did(pets: Model) -> None:
    (answer,) = pets.classify(tiny_images(1), "100%")
    assert answer.class_name == "dog"
    assert answer.confidence == pytest.approx(0.9005346, abs=1e-5)


def test_what_the_closed_loop_had_learned_is_found_again(made: Path, pets: Model) -> None:
    (file,) = (made / "state").glob("*.json")
    assert pets.manifest.identity == file.stem
    StateFolder(made / "state", get_logger()).load(pets, "pets")
    corrections = pets.health().corrections
    assert corrections is not None
    assert corrections["39.8%"].factor == pytest.approx(LOG_FACTOR[made.name])


def test_what_was_learned_is_written_as_the_version_before_reads_it(made: Path, pets: Model) -> None:
    """Going back: the same file, with the same keys, or with a name that the oldest did not look at."""
    (file,) = (made / "state").glob("*.json")
    before = json.loads(file.read_text())
    states = StateFolder(made / "state", get_logger())
    states.load(pets, "pets")
    states.save(pets, "pets")
    assert json.loads(file.read_text()) == before | {"model": "pets"}


def labels(folder: Path) -> LabelStore:
    return LabelStore(folder, keep=100, keep_seconds=3600, logger=get_logger(), clock=lambda: AT + 60)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return a state directory with the labels of format-2."""
    database = sqlite3.connect(tmp_path / FILE)
    database.executescript((MADE_BEFORE / "format-2" / "state" / "labels.sql").read_text())
    database.close()
    return tmp_path


def test_labels_come_for_answers_of_the_version_before(labelled: Path) -> None:
    manifest = read_bundle(MADE_BEFORE / "format-2" / "models" / "pets").manifest
    book = LabelBook(
        labels(labelled), alarm_delta=1e-4, guarantee_delta=0.05, emit=lambda _: None, logger=get_logger()
    )
    request = "0-8d2f31aa-1"
    given = [Label(request, 0, 0), Label(request, 2, 2)]
    taken = book.take("pets", manifest.identity, given, lambda *_: (0.7, 60))
    summary = book.summary(manifest.identity)
    book.close()
    assert (taken.same, taken.new) == (1, 1)
    assert {number: (found.labelled, found.right) for number, found in summary.exits.items()} == {
        1: (1, 1),
        2: (1, 0),
        3: (1, 1),
    }
    assert summary.sampled == 1


def test_a_bundle_of_a_newer_format_is_refused_by_name(made: Path) -> None:
    manifest = made / "models" / "pets" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": 3}))
    with pytest.raises(BundleError, match=r"'pets': manifest\.json: expected format_version 1 or 2; found 3"):
        read_bundle(made / "models" / "pets")


def test_state_of_a_newer_format_is_named_and_not_used(
    made: Path, pets: Model, caplog: pytest.LogCaptureFixture
) -> None:
    (file,) = (made / "state").glob("*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    StateFolder(made / "state", get_logger()).load(pets, "pets")
    assert pets.health().corrections == {}
    assert "expected format 1, found 2" in caplog.text
    assert file.name in caplog.text


def test_labels_of_a_newer_format_are_named_and_left_alone(
    labelled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = sqlite3.connect(labelled / FILE)
    database.execute("PRAGMA user_version = 2")
    database.close()
    before = (labelled / FILE).read_bytes()
    labels(labelled).close()
    assert "expected format 1, found 2" in caplog.text
    assert (labelled / FILE).read_bytes() == before


def test_state_of_a_changed_bundle_is_discarded_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(MADE_BEFORE / "format-2", tmp_path / "made")
    (file,) = (tmp_path / "made" / "state").glob("*.json")
    with Model.load(MADE_BEFORE / "format-1" / "models" / "pets", threads=1) as changed:
        StateFolder(tmp_path / "made" / "state", get_logger()).load(changed, "pets")
        assert changed.health().corrections == {}
    assert "state_discarded" in caplog.text
    assert not file.exists()
