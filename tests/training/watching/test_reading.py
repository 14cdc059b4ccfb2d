"""What the page is told of a run: the files as they are, refused where they are something else."""

import json
import os
from pathlib import Path

import pytest

from training.errors import RunError
from training.watching import reading
from training.watching.reading import snapshot


def record(epoch: int, **more: object) -> dict[str, object]:
    return {
        "epoch": epoch,
        "train_loss": [1.0, None],
        "validation_accuracy": [0.5, 0.75],
        "seconds": 4.0,
        **more,
    }


def run_folder(folder: Path, *records: object, epochs: object = 5) -> Path:
    folder.mkdir(exist_ok=True)
    settings = {"dataset": "digits", "epochs": epochs, "recipe": None, "momentum": 0.9}
    (folder / "config.json").write_text(json.dumps({"settings": settings}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    return folder


def test_a_run_is_told_with_what_is_left(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "mine", record(1), record(2, seconds=8.0))
    os.utime(folder / "metrics.jsonl", (100, 100))

    found = snapshot(folder, clock=lambda: 130.0)

    assert (found["name"], found["epochs"]) == ("mine", 5)
    assert found["settings"] == {"dataset": "digits", "epochs": 5}
    assert [each["epoch"] for each in found["records"]] == [1, 2]
    assert (found["seconds_left"], found["quiet_seconds"], found["conflict"]) == (18.0, 30.0, {})


def test_before_the_first_epoch_nothing_is_known(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "new")
    (folder / "metrics.jsonl").unlink()
    found = snapshot(folder)
    assert (found["records"], found["seconds_left"], found["quiet_seconds"]) == ([], None, None)


def test_numbers_that_json_has_not_are_none(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "wild", record(1, train_loss=[float("nan"), float("inf")]))
    found = snapshot(folder)
    assert found["records"][0]["train_loss"] == [None, None]
    json.dumps(found, allow_nan=False)


def test_a_measured_conflict_is_told(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", record(1))
    (folder / "conflict").mkdir()
    whole = {"whole": {"cosine": [[1.0, -0.5], [-0.5, 1.0]]}}
    (folder / "conflict" / "conflict.json").write_text(json.dumps({"mini_batch": whole, "expected": None}))
    assert snapshot(folder)["conflict"] == {"mini-batch gradients": [[1.0, -0.5], [-0.5, 1.0]]}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("config.json", "{}", "not the settings of a run"),
        ("config.json", "[1]", "not the settings of a run"),
        ("config.json", "\x00", "not the settings of a run"),
        ("metrics.jsonl", "{", "expected one JSON object per epoch"),
        ("metrics.jsonl", "[1]\n", "expected one JSON object per epoch"),
        ("metrics.jsonl", '{"epoch": 1}\n', "expected one JSON object per epoch"),
        ("conflict/conflict.json", "[]", "not written by `offramp conflict`"),
        ("conflict/conflict.json", '{"mini_batch": 3}', "not written by `offramp conflict`"),
    ],
)
def test_files_of_something_else_are_refused_by_name(name: str, text: str, says: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", record(1))
    (folder / "conflict").mkdir()
    (folder / name).write_text(text)
    with pytest.raises(RunError, match=says) as caught:
        snapshot(folder)
    assert name in str(caught.value)


def test_what_is_no_run_and_a_log_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        snapshot(tmp_path)
    folder = run_folder(tmp_path / "run", record(1))
    monkeypatch.setattr(reading, "MOST_BYTES", 10)
    with pytest.raises(RunError, match="expected at most 10 bytes"):
        snapshot(folder)
