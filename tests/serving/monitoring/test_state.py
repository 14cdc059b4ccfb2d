"""The state folder: whole files or none, one per bundle, and no file that can keep a server from starting."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving.bundle.manifest import Manifest
from serving.monitoring.state import StateFolder, StateKeeper
from serving.telemetry.logs import get_logger
from tests.bundles import tiny_manifest

State = dict[str, dict[str, float]]


@dataclass
class Model:
    manifest: Manifest = field(default_factory=tiny_manifest)
    learned: State = field(default_factory=dict)

    @property
    def identity(self) -> str:
        return self.manifest.identity

    def state(self) -> State:
        return self.learned

    def restore(self, state: State) -> None:
        if "bad" in state:
            raise ValueError("expected other numbers")
        self.learned = state


LEARNED: State = {"3": {"log_factor": 0.25}}


def folder(path: Path) -> StateFolder:
    return StateFolder(path, get_logger())


def test_a_state_is_found_again_by_the_bundle_it_belongs_to(tmp_path: Path) -> None:
    folder(tmp_path / "new" / "state").save(Model(learned=LEARNED), "m")
    again, other = Model(), Model(tiny_manifest().model_copy(update={"precision": "int8"}))
    folder(tmp_path / "new" / "state").load(again, "m")
    folder(tmp_path / "new" / "state").load(other, "other")
    assert (again.learned, other.learned) == (LEARNED, {})
    assert [path.name for path in (tmp_path / "new" / "state").iterdir()] == [
        f"{again.manifest.identity}.json"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"format": 2}',
        '{"format": 1}',
        '{"format": 1, "budget_classes": {"bad": {}}}',
        "\x00",
    ],
)
def test_a_file_that_cannot_be_used_is_logged_and_the_model_starts_anew(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model()
    (tmp_path / f"{model.manifest.identity}.json").write_text(text)
    folder(tmp_path).load(model, "m")
    assert model.learned == {}
    assert "state_unusable" in caplog.text


def test_a_folder_that_cannot_be_written_is_logged_and_serving_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    folder(tmp_path / "file").save(Model(), "m")
    assert "state_not_written" in caplog.text


def test_an_old_state_stays_whole_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    folder(tmp_path).save(Model(learned=LEARNED), "m")
    folder(tmp_path).save(Model(learned={"3": {"log_factor": float("nan")}}), "m")
    model = Model()
    folder(tmp_path).load(model, "m")
    assert model.learned == LEARNED


def test_the_keeper_saves_at_the_end_and_before(tmp_path: Path) -> None:
    model = Model(learned=LEARNED)
    path = tmp_path / f"{model.manifest.identity}.json"
    keeper = StateKeeper(folder(tmp_path), {"m": model}, interval_seconds=3600)
    model.learned = {"4": {"log_factor": 0.5}}
    keeper.close()
    assert json.loads(path.read_text()) == {
        "format": 1,
        "budget_classes": model.learned,
        "model": "m",
    }


def test_what_another_bundle_of_the_name_had_learned_is_discarded_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder(tmp_path).save(Model(learned=LEARNED), "pets")
    folder(tmp_path).save(Model(tiny_manifest().model_copy(update={"precision": "fp16"})), "cats")
    (tmp_path / "notes.json").write_text("[")
    changed = Model(tiny_manifest().model_copy(update={"precision": "int8"}))
    folder(tmp_path).load(changed, "pets")
    assert "state_discarded" in caplog.text
    assert f"{tiny_manifest().identity}.json" in caplog.text
    assert not (tmp_path / f"{tiny_manifest().identity}.json").exists()
    assert len(list(tmp_path.iterdir())) == 2
