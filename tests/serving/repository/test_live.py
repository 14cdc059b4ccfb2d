from types import SimpleNamespace

import pytest

from serving.errors import UnknownModelError, VersionError
from serving.repository.live import EveryVersion, LiveModels, Slot, Split, Version, by_current, by_state, draw


def versions(*numbers: str) -> dict[str, Version[str]]:
    return {number: Version(number, f"model {number}", versioned=True) for number in numbers}


def live(**more: object) -> LiveModels[str]:
    models: LiveModels[str] = LiveModels()
    models.put(Slot("pets", True, versions("1", "2"), "2", **more))  # type: ignore[arg-type]
    return models


def test_a_name_is_its_current_version_and_a_number_is_itself() -> None:
    models = live()
    assert dict(models) == {"pets": "model 2"}
    for number, model in ((None, "model 2"), ("", "model 2"), ("1", "model 1")):
        with models.lease("pets", number) as version:
            assert version.model == model
    assert dict(EveryVersion(models, by_current)) == {"pets@1": "model 1", "pets": "model 2"}
    assert dict(EveryVersion(models, by_state)) == {"pets@1": "model 1", "pets@2": "model 2"}


def test_who_names_nothing_there_is_told_what_there_is() -> None:
    with (
        pytest.raises(VersionError, match="no version '3' loaded: expected 1 or 2"),
        live().lease("pets", "3"),
    ):
        pass
    with pytest.raises(UnknownModelError, match="no model 'cats' is loaded: expected one of pets"):
        live().slot("cats")
    with pytest.raises(UnknownModelError, match="and no other"):
        LiveModels[str]().slot("cats")


def test_a_version_is_unused_when_it_was_taken_away_and_its_last_lease_is_over() -> None:
    models = live()
    slot = models.slot("pets")
    first, second = slot.versions["1"], slot.versions["2"]
    with models.lease("pets"), models.lease("pets"):
        models.put(Slot("pets", True, versions("3"), "3"))
        assert first.unused.is_set()
        assert not second.unused.is_set()
        with models.lease("pets") as new:
            assert new.model == "model 3"
    assert second.unused.is_set()
    assert not new.unused.is_set()
    models.remove("pets")
    assert new.unused.is_set()
    assert not models


def test_a_canary_gets_its_share_by_the_ids_alone_and_only_of_who_names_no_version() -> None:
    models = live(canary=Split("1", 0.25))
    ids = [f"0-abcd-{number}" for number in range(4000)]

    def chosen(number: str | None, request_id: str | None) -> str:
        with models.lease("pets", number, request_id) as version:
            return version.number

    found = [chosen(None, each) for each in ids]
    assert found == [chosen(None, each) for each in ids]
    assert found == ["1" if draw(each) < 0.25 else "2" for each in ids]
    assert abs(found.count("1") / len(ids) - 0.25) < 0.03
    assert {chosen("2", each) for each in ids[:50]} == {"2"}
    assert chosen(None, None) == "2"


def test_a_dead_canary_gets_nothing() -> None:
    models: LiveModels[SimpleNamespace] = LiveModels()
    versions = {number: Version(number, SimpleNamespace(alive=number == "1")) for number in ("1", "2")}
    models.put(Slot("pets", True, versions, "1", canary=Split("2", 1.0)))
    with models.lease("pets", None, "0-abcd-1") as found:
        assert found.number == "1"
