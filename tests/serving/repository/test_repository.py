import threading
from pathlib import Path

import pytest

from serving.errors import (
    ModelMemoryError,
    OverloadedError,
    RepositoryError,
    UnknownModelError,
    UnusableBundleError,
    VersionError,
)
from serving.events import CurrentVersion, ModelLoaded, ModelRefused, ModelUnloaded
from serving.repository.live import Split
from tests.serving.repository.fakes import BROKEN, MB, Fake, Fixture, open_fake, write


def settled(fixture: Fixture) -> Fixture:
    """Wait until what was replaced is gone, and its memory was given back."""
    for thread in threading.enumerate():
        if thread.name == "offramp-retire":
            thread.join(30)
    return fixture


@pytest.fixture
def pets(tmp_path: Path) -> Fixture:
    write(tmp_path / "pets")
    return Fixture(tmp_path)


def test_a_replacement_takes_over_and_the_old_one_drains(pets: Fixture, tmp_path: Path) -> None:
    old = pets.live["pets"]
    write(tmp_path / "pets", "b")
    with pets.live.lease("pets") as leased:
        pets.repository.load("pets")
        assert pets.revisions() == {"1": "b"}
        assert (leased.model, old.closed) == (old, [])  # it has a request still
    settled(pets)
    assert old.closed == [True]
    assert pets.freed == 1
    assert [type(event) for event in pets.events[2:]] == [ModelLoaded, CurrentVersion, ModelUnloaded]
    assert pets.events[-1] == ModelUnloaded("pets", "1", pets.events[0].memory_bytes, last=False)  # type: ignore[union-attr]


def test_the_same_bundle_is_not_opened_twice_unless_its_worker_died(pets: Fixture) -> None:
    old = pets.live["pets"]
    pets.repository.load("pets")
    assert pets.live["pets"] is old
    old.alive = False
    pets.repository.load("pets")
    assert pets.live["pets"] is not old


def test_a_bundle_that_fails_never_replaces_a_good_one(pets: Fixture, tmp_path: Path) -> None:
    old = pets.live["pets"]
    write(tmp_path / "pets", BROKEN)
    with pytest.raises(UnusableBundleError, match=r"segment_1.onnx: is missing"):
        pets.repository.load("pets")
    assert pets.live["pets"] is old
    assert old.alive
    assert isinstance(pets.events[-1], ModelRefused)
    (tmp_path / "pets" / "manifest.json").write_text("{")
    with pytest.raises(UnusableBundleError, match=r"manifest.json: is not valid JSON"):
        pets.repository.load("pets")
    assert pets.live["pets"].revision == "a"


def test_a_new_model_loads_and_an_unloaded_one_is_listed(pets: Fixture, tmp_path: Path) -> None:
    write(tmp_path / "cats", BROKEN)
    with pytest.raises(UnusableBundleError):
        pets.repository.load("cats")
    assert [(found.name, found.version) for found in pets.repository.on_disk()] == [("cats", "1")]
    assert "is missing" in pets.repository.on_disk()[0].reason
    write(tmp_path / "cats")
    pets.repository.load("cats")
    assert sorted(pets.live) == ["cats", "pets"]
    pets.repository.unload("pets")
    assert sorted(pets.live) == ["cats"]
    assert [(found.name, found.reason) for found in pets.repository.on_disk()] == [("pets", "not loaded")]
    settled(pets)
    assert pets.events[-1].last  # type: ignore[union-attr]
    with pytest.raises(UnknownModelError, match="no model 'pets' is loaded: expected one of cats"):
        pets.repository.unload("pets")
    with pytest.raises(
        UnknownModelError, match="no bundle 'dogs' in the folder of models, which has cats, pets"
    ):
        pets.repository.load("dogs")


def test_the_latest_version_answers_and_the_one_before_goes(tmp_path: Path) -> None:
    write(tmp_path / "pets" / "1", "one")
    fixture = Fixture(tmp_path)
    write(tmp_path / "pets" / "2", "two")
    fixture.repository.load("pets")
    assert fixture.revisions() == {"2": "two"}
    settled(fixture)
    fixture.repository.rollback("pets")
    assert fixture.live["pets"].revision == "one"
    assert fixture.revisions() == {"2": "two", "1": "one"}  # promoting keeps the one before
    fixture.repository.promote("pets", "2")
    assert fixture.live["pets"].revision == "two"
    with pytest.raises(VersionError, match="no version '3' in its folder: expected 1 or 2"):
        fixture.repository.promote("pets", "3")
    with pytest.raises(RepositoryError, match="version 2 answers for 'pets'"):
        fixture.repository.unload("pets", "2")
    fixture.repository.unload("pets", "1")
    assert fixture.revisions() == {"2": "two"}
    with pytest.raises(VersionError, match="no version '1' loaded: expected 2"):
        fixture.repository.unload("pets", "1")


def test_versions_load_as_the_settings_want_and_others_beside_them(tmp_path: Path) -> None:
    for number in ("1", "2", "3"):
        write(tmp_path / "pets" / number, number)
        write(tmp_path / "cats" / number, number)
        write(tmp_path / "dogs" / number, BROKEN if number == "3" else number)
    fixture = Fixture(tmp_path, model_version="pets=1+2,cats=all")
    assert (fixture.live["pets"].revision, fixture.revisions()) == ("1", {"1": "1", "2": "2"})
    assert fixture.live["cats"].revision == "3"
    assert set(fixture.revisions("cats")) == {"1", "2", "3"}
    assert fixture.revisions("dogs") == {"2": "2"}  # the latest that can be loaded
    fixture.repository.load("pets", "3")
    assert (fixture.live["pets"].revision, set(fixture.revisions())) == ("1", {"1", "2", "3"})
    with pytest.raises(VersionError, match="expected 1, 2 or 3"):
        fixture.repository.load("pets", "9")


def test_versions_that_belong_together_load_together_or_not_at_all(tmp_path: Path) -> None:
    opened: list[Fake] = []

    def noted(folder: Path, name: str, number: str) -> Fake:
        opened.append(open_fake(folder, name, number))
        return opened[-1]

    for number in ("1", "2"):
        write(tmp_path / "pets" / number, number)
    fixture = Fixture(tmp_path, open_model=noted, model_version="pets=1+2")
    held = fixture.opener.held_bytes
    write(tmp_path / "pets" / "1", "new")
    write(tmp_path / "pets" / "2", BROKEN)
    with pytest.raises(UnusableBundleError):
        fixture.repository.load("pets")
    assert fixture.revisions() == {"1": "1", "2": "2"}
    assert [fake.revision for fake in opened if fake.closed] == ["new"]
    assert fixture.opener.held_bytes == held


def test_rolling_back_needs_a_version_before(pets: Fixture) -> None:
    with pytest.raises(RepositoryError, match="no version of 'pets' answered before"):
        pets.repository.rollback("pets")


def test_a_canary_is_loaded_for_its_share_and_ends_when_it_is_promoted(tmp_path: Path) -> None:
    write(tmp_path / "pets" / "1", "one")
    fixture = Fixture(tmp_path)
    with pytest.raises(RepositoryError, match="version 1 answers for 'pets' already"):
        fixture.repository.set_canary("pets", Split("1", 0.5))
    write(tmp_path / "pets" / "2", BROKEN)
    with pytest.raises(UnusableBundleError):
        fixture.repository.set_canary("pets", Split("2", 0.5))
    assert fixture.live.slot("pets").canary is None
    write(tmp_path / "pets" / "2", "two")
    fixture.repository.set_canary("pets", Split("2", 0.5))
    assert fixture.live.slot("pets").canary == Split("2", 0.5)
    assert fixture.live["pets"].revision == "one"
    fixture.repository.promote("pets", "2")
    assert (fixture.live.slot("pets").canary, fixture.live.slot("pets").previous) == (None, "1")
    fixture.repository.set_canary("pets", Split("1", 0.1))
    fixture.repository.set_canary("pets", None)
    assert fixture.live.slot("pets").canary is None


class Memory:
    """What the process occupies: so many megabytes more with every model that is opened."""

    def __init__(self, megabytes: int) -> None:
        self.each, self.now = megabytes * MB, 100 * MB

    def __call__(self) -> int:
        return self.now

    def open(self, folder: Path, name: str, number: str) -> Fake:
        self.now += self.each
        return open_fake(folder, name, number)


def limited(tmp_path: Path, *, evict: bool) -> Fixture:
    for name in ("cats", "dogs", "pets"):
        write(tmp_path / name)
    memory = Memory(40)
    for name in ("dogs", "pets"):
        (tmp_path / name).rename(tmp_path / f".{name}")
    fixture = Fixture(tmp_path, memory=memory, open_model=memory.open, evict=evict, max_model_memory="100MiB")
    for name in ("dogs", "pets"):
        (tmp_path / f".{name}").rename(tmp_path / name)
    fixture.repository.load("dogs")
    return fixture


def test_a_model_over_the_memory_limit_is_refused_by_name(tmp_path: Path) -> None:
    fixture = limited(tmp_path, evict=False)
    with pytest.raises(ModelMemoryError, match=r"'pets' does not fit: loading it took 41,943,040 bytes"):
        fixture.repository.load("pets")
    assert sorted(fixture.live) == ["cats", "dogs"]
    assert fixture.opener.held_bytes == 80 * MB


def test_the_models_that_were_asked_longest_ago_make_room_where_they_may(tmp_path: Path) -> None:
    fixture = limited(tmp_path, evict=True)
    with fixture.live.lease("cats"):
        pass
    fixture.repository.load("pets")
    assert sorted(fixture.live) == ["cats", "pets"]


def test_changes_wait_for_each_other_and_too_many_are_refused(pets: Fixture) -> None:
    held = threading.Event()
    waiting = [pets.repository.start(lambda: held.wait(30)) for _ in range(16)]
    with pytest.raises(OverloadedError, match="16 changes"):
        pets.repository.start(lambda: None)
    held.set()
    assert all(future.result(30) for future in waiting)
