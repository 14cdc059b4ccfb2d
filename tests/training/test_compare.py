"""`training.compare` on tiny runs of digits: what it trains, keeps, refuses and writes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.small_runs import flags
from training import compare
from training.comparison import runs
from training.runs.checkpoint import Checkpoint

METHODS = ["joint", "joint:lr=1e30"]


def arguments(out: Path, *more: str, methods: list[str] = METHODS, seeds: str = "0") -> list[str]:
    """A comparison of tiny runs; `more` holds its length."""
    chosen = ["--methods", *methods, "--seeds", *seeds.split(), "--out", str(out)]
    return [*flags(), "--device", "cpu", *chosen, *more]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, one of two methods of which cannot be trained."""
    out = tmp_path_factory.mktemp("compared")
    assert compare.main(arguments(out, "--epochs", "1", seeds="0 1")) == 0
    return out


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "report.json").read_text())
    return found


def refuse_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_training(*_: object, **__: object) -> None:
        raise AssertionError("nothing was to be trained")

    monkeypatch.setattr(runs, "fit", no_training)


def test_the_report_holds_every_run(compared: Path) -> None:
    found = report(compared)

    (view,) = found["views"]
    joint, broken = view["methods"]
    assert (view["condition"], found["poster"]) == ("epochs", None)
    assert found["images"] == {"train": 160, "validation": 180, "test": 359}
    assert [run["folder"] for run in joint["runs"]] == ["runs/joint-0", "runs/joint-1"]
    accuracies = [run["exit_accuracy"][0] for run in joint["runs"]]
    assert joint["exits"][0]["accuracy_mean"] == pytest.approx(sum(accuracies) / 2)
    assert joint["exits"][0]["accuracy_std"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
    assert [entry["exit"] for entry in joint["exits"]] == [1, 2]
    assert joint["curve"][-1]["spent_flops"] == joint["exits"][-1]["flops"]
    assert "the loss of exit 1 is" in broken["runs"][0]["failure"]
    assert broken["exits"][0]["accuracy_mean"] is None
    assert broken["settings"] == {"lr": "1e30"}


def test_the_files_are_there(compared: Path) -> None:
    text = (compared / "report.md").read_text()
    html = (compared / "report.html").read_text()

    assert "offramp compare --dataset digits" in text
    for name in ("budgeted", "exits", "learning"):
        assert (compared / f"{name}-epochs.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}-epochs.png)" in text
    assert html.count("data:image/svg+xml") == 3
    assert "epochs.png" not in html


def test_finished_runs_are_not_trained_again(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_train(monkeypatch)
    before = report(compared)["views"][0]["methods"][0]

    assert compare.main(arguments(compared, "--epochs", "1", methods=["joint"], seeds="0 1")) == 0

    assert report(compared)["views"][0]["methods"] == [before]


def test_a_broken_run_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = Checkpoint.save

    def save_and_stop(self: Checkpoint, path: Path) -> None:
        save(self, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", save_and_stop)
        assert compare.main(arguments(tmp_path, "--epochs", "2", methods=["joint"])) == 130
    capsys.readouterr()

    assert compare.main(arguments(tmp_path, "--epochs", "2", methods=["joint"])) == 0

    out = capsys.readouterr().out
    assert "epoch 2/2" in out
    assert "epoch 1/2" not in out
    assert report(tmp_path)["views"][0]["methods"][0]["runs"][0]["epochs"] == 2


def test_a_run_may_start_from_one_before_it(tmp_path: Path) -> None:
    later = f"meta-gf:init_from={tmp_path}/runs/joint-0,fusion_share=0.2"

    assert compare.main(arguments(tmp_path, "--epochs", "1", methods=["joint", later])) == 0

    first, second = report(tmp_path)["views"][0]["methods"]
    assert [method["runs"][0]["failure"] for method in (first, second)] == [None, None]
    assert second["method_option"] == {"fusion_share": "0.2"}


def test_a_run_does_not_start_from_one_that_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = f"joint:init_from={tmp_path}/runs/joint+lr=1e30-0"

    assert compare.main(arguments(tmp_path, "--epochs", "1", methods=["joint:lr=1e30", later])) == 2

    assert "joint+lr=1e30-0, which it starts from, did not reach its end" in capsys.readouterr().err


def test_equal_time_plans_as_many_epochs_as_fit(tmp_path: Path) -> None:
    # No epoch fits into 6 ms: one is done all the same.
    assert compare.main(arguments(tmp_path, "--max-minutes", "0.0001", methods=["joint"])) == 0

    (view,) = report(tmp_path)["views"]
    assert view["condition"] == "minutes"
    assert view["methods"][0]["runs"][0]["folder"] == "runs/joint-0-0.0001min"
    assert Checkpoint.load(tmp_path / "timing" / "joint" / "checkpoint.pt").epoch == 1
    assert (tmp_path / "budgeted-minutes.png").exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["--epochs", "2"], "--epochs is 1, found 2"),
        (["--epochs", "1", "--lr", "0.2"], "--lr is 0.1, found 0.2"),
        (["--epochs", "1", "--weight-decay", "x"], "--weight-decay: Input should be a valid number"),
        ([], "expected --epochs N, --max-minutes M or both"),
        (["--epochs", "0"], "--epochs: Input should be greater than or equal to 1"),
        (["--epochs", "1", "--seeds", "1", "1"], "--seeds: expected each seed once"),
        (["--epochs", "1", "--methods", "adam"], "unknown method 'adam'"),
        (["--epochs", "1", "--model", "vit"], "vit"),
        (["--epochs", "1", "--methods", "ge", "joint:init_from=nowhere"], "nowhere: not a run folder"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    changed: list[str],
    says: str,
    compared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refuse_to_train(monkeypatch)

    assert compare.main(arguments(compared, *changed)) == 2

    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err


def test_a_comparison_of_which_nothing_is_left_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main(arguments(tmp_path, "--epochs", "1", methods=["joint:lr=1e30"])) == 2

    assert "no run reached its end" in capsys.readouterr().err
    assert not (tmp_path / "report.md").exists()
