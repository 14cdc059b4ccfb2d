from pathlib import Path

import structlog

from serving.processes.adopting import adopt
from serving.processes.shapes import SlotShape
from serving.repository.live import Split
from tests.serving.repository.fakes import Fixture, write

LOGGER = structlog.get_logger()


def shape(*numbers: str, current: str, previous: str | None = None, **more: object) -> SlotShape:
    versions = dict.fromkeys(numbers)
    values = {"pinned": False, "canary": None, "shadow": None, **more}
    return SlotShape(True, versions, current, previous, **values)  # type: ignore[arg-type]


def test_a_process_comes_to_have_the_versions_of_the_others(tmp_path: Path) -> None:
    for number in ("1", "2", "3"):
        write(tmp_path / "pets" / number)
    write(tmp_path / "cats" / "1")
    fixture = Fixture(tmp_path)
    fixture.repository.load("cats")
    assert fixture.live.slot("pets").current == "3"
    canary = Split("3", 0.25)
    wanted = shape("1", "2", "3", current="2", previous="1", pinned=True, canary=canary)
    adopt(fixture.repository, fixture.live, {"pets": wanted}, LOGGER)
    slot = fixture.live.slot("pets")
    assert set(fixture.live.slots) == {"pets"}
    assert (sorted(slot.versions), slot.current, slot.previous) == (["1", "2", "3"], "2", "1")
    assert (slot.pinned, slot.canary) == (True, canary)


def test_what_is_the_same_already_is_left_alone(tmp_path: Path) -> None:
    for number in ("1", "2"):
        write(tmp_path / "pets" / number)
    fixture = Fixture(tmp_path)
    loaded, slot = fixture.live["pets"], fixture.live.slot("pets")
    adopt(fixture.repository, fixture.live, {"pets": shape("2", current="2")}, LOGGER)
    assert fixture.live["pets"] is loaded
    assert fixture.live.slot("pets") == slot


def test_a_model_that_has_gone_from_the_folder_keeps_no_other_from_being_adopted(tmp_path: Path) -> None:
    write(tmp_path / "pets" / "1")
    write(tmp_path / "pets" / "2")
    fixture = Fixture(tmp_path)
    wanted = {"gone": shape("1", current="1"), "pets": shape("1", current="1", pinned=True)}
    adopt(fixture.repository, fixture.live, wanted, LOGGER)
    assert list(fixture.live.slots) == ["pets"]
    assert fixture.live.slot("pets").current == "1"
