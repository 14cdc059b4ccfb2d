"""`training.importance` on a tiny Meta-GF run of digits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.small_runs import trained
from training import importance
from training.config import FitConfig
from training.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "meta-gf"
    return trained(folder, method="meta-gf", method_option={"granularity": "channel"})


@pytest.fixture(scope="module")
def measured(run: Run) -> dict[str, Any]:
    words = ["--steps", "2", "--max-share", "1", "--draws", "2", "--images", "100"]
    assert importance.main([str(run.folder), *words, "--threads", "1", "--device", "cpu"]) == 0
    found: dict[str, Any] = json.loads((run.folder / "importance" / "importance.json").read_text())
    return found


def test_every_exit_is_pruned_for(measured: dict[str, Any]) -> None:
    assert (measured["images"], measured["split"], measured["granularity"]) == (100, "test", "channel")
    assert [entry["exit"] for entry in measured["exits"]] == [1, 2]
    for entry in measured["exits"]:
        assert entry["pruned"] == [0, round(entry["parameters"] / 2), entry["parameters"]]
        assert np.shape(entry["important"]) == (3, 2)  # steps, exits
        assert np.shape(entry["random"]) == (2, 3, 2)  # draws, steps, exits


def test_what_is_pruned_whole_is_the_same_in_any_order(measured: dict[str, Any]) -> None:
    for entry in measured["exits"]:
        random = np.array(entry["random"])
        assert random[:, 0].tolist() == [entry["important"][0]] * 2
        assert random[:, -1].tolist() == [entry["important"][-1]] * 2


def test_two_exits_share_alike_on_average(measured: dict[str, Any]) -> None:
    # π sums to one over the two exits that use a group, so their importances sum to two.
    means = [entry["importance"]["mean"] for entry in measured["exits"]]

    assert sum(means) == pytest.approx(2.0)
    assert measured["exits"][0]["importance"]["max"] > 1


def test_the_figures_are_drawn(run: Run, measured: dict[str, Any]) -> None:
    assert {path.name for path in (run.folder / "importance").glob("*.png")} == {"pruning.png", "harm.png"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--exits", "3"], "--exits: expected numbers in 1..2, found 3"),
        (["--max-share", "2"], "--max-share: Input should be less than or equal to 1"),
    ],
)
def test_mistakes_are_told(words: list[str], says: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert importance.main([str(run.folder), "--threads", "1", *words]) == 2

    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"method": "joint"},
            "expected a run of meta-gf, whose fusion weights are read as importance, found joint",
        ),
        ({"method_option": {"exits_per_task": "2"}}, "expected a fusion weight for every exit"),
    ],
)
def test_a_run_without_weights_per_exit_is_refused(
    changed: dict[str, object], says: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = json.loads((run.folder / "config.json").read_text())
    settings = FitConfig.model_validate({**stored["settings"], **changed})
    (tmp_path / "config.json").write_text(json.dumps({**stored, "settings": settings.stored()}))
    (tmp_path / "checkpoint.pt").write_bytes(run.checkpoint_path.read_bytes())

    assert importance.main([str(tmp_path)]) == 2

    assert says in capsys.readouterr().err
