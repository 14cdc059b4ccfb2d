import shutil
from pathlib import Path

import pytest
import structlog

from serving.repository.watcher import Watcher
from tests.serving.repository.fakes import BROKEN, Fixture, write


@pytest.fixture
def watched(tmp_path: Path) -> tuple[Fixture, Watcher]:
    write(tmp_path / "pets")
    fixture = Fixture(tmp_path)
    return fixture, Watcher(fixture.repository, 3600, structlog.get_logger())


def test_a_changed_folder_is_taken_once_it_was_the_same_twice(
    watched: tuple[Fixture, Watcher], tmp_path: Path
) -> None:
    fixture, watcher = watched
    write(tmp_path / "pets", "bb")
    watcher.poll()
    assert fixture.revisions() == {"1": "a"}
    write(tmp_path / "pets", "ccc")  # the copy goes on
    watcher.poll()
    assert fixture.revisions() == {"1": "a"}
    watcher.poll()
    assert fixture.revisions() == {"1": "ccc"}
    loaded = fixture.live["pets"]
    watcher.poll()
    assert fixture.live["pets"] is loaded


def test_a_refused_bundle_is_tried_again_when_it_changes_and_not_before(
    watched: tuple[Fixture, Watcher], tmp_path: Path
) -> None:
    fixture, watcher = watched
    write(tmp_path / "pets", BROKEN)
    for _ in range(4):
        watcher.poll()
    refused = [event for event in fixture.events if type(event).__name__ == "ModelRefused"]
    assert len(refused) == 1
    assert fixture.revisions() == {"1": "a"}
    write(tmp_path / "pets", "mended")
    watcher.poll()
    watcher.poll()
    assert fixture.revisions() == {"1": "mended"}


def test_new_models_and_versions_load_and_gone_ones_unload(
    watched: tuple[Fixture, Watcher], tmp_path: Path
) -> None:
    fixture, watcher = watched
    write(tmp_path / "cats" / "1", "one")
    watcher.poll()
    watcher.poll()
    assert fixture.revisions("cats") == {"1": "one"}
    write(tmp_path / "cats" / "2", "two")
    (tmp_path / "cats" / "3").mkdir()
    watcher.poll()
    watcher.poll()
    assert fixture.revisions("cats") == {"2": "two"}
    shutil.rmtree(tmp_path / "pets")
    watcher.poll()
    assert "pets" in fixture.live
    watcher.poll()
    assert sorted(fixture.live) == ["cats"]


def test_a_version_that_was_promoted_stays(watched: tuple[Fixture, Watcher], tmp_path: Path) -> None:
    fixture, watcher = watched
    write(tmp_path / "cats" / "1", "one")
    write(tmp_path / "cats" / "2", "two")
    fixture.repository.load("cats")
    fixture.repository.promote("cats", "1")
    write(tmp_path / "cats" / "3", "three")
    for _ in range(3):
        watcher.poll()
    assert fixture.live["cats"].revision == "one"
    fixture.repository.load("cats")
    assert fixture.live["cats"].revision == "three"


def test_a_folder_that_cannot_be_read_unloads_nothing(
    watched: tuple[Fixture, Watcher], tmp_path: Path
) -> None:
    fixture, watcher = watched
    away = tmp_path.with_name("away")
    tmp_path.rename(away)
    for _ in range(3):
        watcher.poll()
    away.rename(tmp_path)
    assert sorted(fixture.live) == ["pets"]
