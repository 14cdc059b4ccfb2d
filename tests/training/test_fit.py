from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.small_runs import broken, config, ended, flags, logged, same, trained, weights
from training.errors import ConfigError, NonFiniteLossError, RunError
from training.fit import main
from training.fitting.fit import fit
from training.runs.run import Run
from training.runs.start import check_start, resumed, started

WIDER = {**config().model_option, "channels": "8"}


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("joint", {}),
        ("meta-gf", {}),
        ("meta-gf", {"task_batches": "2", "task_momentum": "true", "outer_momentum": "0.5"}),
    ],
)
def test_a_resumed_run_ends_with_the_same_weights_and_logs(
    method: str, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"method": method, "method_option": options, "epochs": 3}
    whole = trained(tmp_path / "whole", **settings)

    run = ended(broken(monkeypatch, tmp_path / "broken", 2, **settings))

    assert same(weights(whole), weights(run))
    assert [record["epoch"] for record in logged(run)] == [1, 2, 3]
    board = EventAccumulator(str(run.folder / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("validation_accuracy/exit 1")] == [1, 2, 3]


def test_the_weights_are_written_as_safetensors_too(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", epochs=1, method="joint", weight_ema=0.9)

    stored, kept = load_file(run.folder / "model.safetensors"), weights(run)
    assert stored.keys() == kept.keys()
    assert all(torch.equal(stored[name], kept[name]) for name in kept)


def test_a_record_holds_every_exit(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", epochs=1)

    (record,) = logged(run)

    assert record["epoch"] == 1
    assert len(record["train_loss"]) == len(record["validation_accuracy"]) == 2
    assert record["images_per_second"] > 0


def test_seeds_differ_and_repeat(tmp_path: Path) -> None:
    one, again, other = (
        weights(trained(tmp_path / name, epochs=1, method="joint", seed=seed))
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )

    assert same(one, again)
    assert not same(one, other)


def test_a_run_stops_before_its_time_is_up(tmp_path: Path) -> None:
    run, data = started(tmp_path / "run", config(epochs=9, method="joint", max_minutes=1.0))
    seconds = iter(range(0, 10_000, 10))

    fit(run, data, clock=lambda: float(next(seconds)))

    done = len(logged(run))
    assert 1 <= done < 9
    run, data = resumed(tmp_path / "run", {"max_minutes": 60.0})
    fit(run, data)
    assert len(logged(run)) == 9


def test_a_run_can_start_from_another(tmp_path: Path) -> None:
    start = trained(tmp_path / "start", method="joint", epochs=1)

    # With a learning rate that moves nothing, the weights are the start's.
    run = trained(
        tmp_path / "next", method="joint", epochs=1, init_from=start.folder, lr=1e-30, weight_decay=0
    )

    name = "segments.0.head.classify.weight"
    assert torch.equal(weights(run)[name], weights(start)[name])


@pytest.mark.parametrize("flag", ["init_from", "transfer_from"])
def test_a_run_goes_on_without_the_one_it_started_from(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = trained(tmp_path / "start", method="joint", epochs=1)
    options = {"method": "joint", "epochs": 2, flag: start.folder}
    whole = trained(tmp_path / "whole", **options)
    stopped = broken(monkeypatch, tmp_path / "broken", 1, **options)
    start.folder.rename(tmp_path / "elsewhere")

    assert same(weights(whole), weights(ended(stopped)))


def test_a_start_that_has_seen_the_validation_images_is_refused(tmp_path: Path) -> None:
    start = trained(tmp_path / "start", method="joint", epochs=1)

    with pytest.raises(ConfigError, match="trained on images that this run validates or tests on"):
        started(tmp_path / "next", config(init_from=start.folder, split_seed=5))


def test_a_start_of_another_architecture_is_refused(tmp_path: Path) -> None:
    start = trained(tmp_path / "start", method="joint", epochs=1)

    with pytest.raises(ConfigError, match="found another channels"):
        started(tmp_path / "next", config(init_from=start.folder, model_option=WIDER))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 2 classes with 20 grey images each."""
    for name in ("ant", "bee"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (32, 32), (6 * number,) * 3).save(tmp_path / f"pictures/{name}/{number}.png")
    return tmp_path / "pictures"


def test_class_counts_that_do_not_fit_are_told_before_training(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"dataset": str(pictures), "train_limit": None, "batch_size": 8, "method": "joint", "epochs": 1}
    run = trained(tmp_path / "run", **own)
    digits = trained(tmp_path / "digits", method="joint", epochs=1, train_limit=32)

    with pytest.raises(
        ConfigError, match="expected this data set's 2 classes, found 10 that are not the same"
    ):
        check_start(config(**own, init_from=digits.folder))
    (pictures / "ant").rename(pictures / "wasp")
    (pictures / "cicada").mkdir()
    Image.new("RGB", (32, 32)).save(pictures / "cicada" / "0.png")

    assert main(["--out", str(run.folder), "--resume"]) == 2
    err = capsys.readouterr().err
    assert (
        "expected the 2 classes that the run was trained on, found 3; not in both: ant, cicada, wasp" in err
    )


def test_a_finished_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path / "run", method="joint", epochs=1)

    fit(*resumed(run.folder, {}))

    assert "all 1 epochs are done" in capsys.readouterr().out


def test_a_loss_that_explodes_keeps_the_last_epoch(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError):
        trained(tmp_path / "run", method="joint", lr=1e30)

    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    assert Run.open(tmp_path / "run").config.lr == 1e30


def test_settings_may_not_change_underway(tmp_path: Path) -> None:
    trained(tmp_path / "run", method="joint", epochs=1)

    with pytest.raises(ConfigError, match=r"--lr is 0.1, found 0.2\. Leave"):
        resumed(tmp_path / "run", {"lr": "0.2"})


def test_a_run_folder_is_never_overwritten(tmp_path: Path) -> None:
    trained(tmp_path / "run", method="joint", epochs=1)

    with pytest.raises(RunError, match="already holds a run: go on with --resume"):
        started(tmp_path / "run", config())


def test_another_environment_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "run", method="joint", epochs=1)
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace(f'"torch": "{torch.__version__.split("+")[0]}', '"torch": "1.0'))

    fit(*resumed(tmp_path / "run", {}))

    assert "warning: torch was 1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"method": "adam"}, "unknown method 'adam'"),
        ({"model": "vit"}, "unknown model 'vit'"),
        ({"dataset": "/no/such/folder"}, "/no/such/folder"),
        ({"device": "tpu"}, "--device tpu: expected cpu"),
        ({"lr": "-1"}, "--lr: Input should be greater than 0; found '-1'"),
        ({"model_option": ["blocks=2"], "image_size": "16"}, "image_size 16 leaves 4 pixels"),
        ({"init_from": "/no/such/run"}, "/no/such/run: not a run folder"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    changed: dict[str, object], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags(**changed), "--out", str(tmp_path / "run")]) == 2

    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_resuming_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "none"), "--resume"]) == 2

    assert "not a run folder" in capsys.readouterr().err
