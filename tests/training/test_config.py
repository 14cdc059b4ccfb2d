from pathlib import Path

import pytest

from serving import command_line
from tests.training.small_runs import broken, config, ended, flags, logged, same, trained, weights
from training.config import FitConfig, OptionConfig, check_options
from training.errors import ConfigError
from training.fit import Arguments, main
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run

ALL_OPTIONS = {
    "joint": {"backbone_epochs": 1, "label_smoothing": 0.1, "distil": 0.5, "weight_ema": 0.9},
    "meta-gf": {"feature_split": True, "label_smoothing": 0.1, "distil": 0.5, "weight_ema": 0.5},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs of joint training, without options."""
    return trained(tmp_path_factory.mktemp("runs") / "plain", method="joint")


@pytest.mark.parametrize("method", ["joint", "meta-gf"])
def test_a_run_with_options_resumes_bit_for_bit(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"method": method, "epochs": 3, **ALL_OPTIONS[method]}
    whole = trained(tmp_path / "whole", **options)

    run = ended(broken(monkeypatch, tmp_path / "broken", 2, **options))

    one, other = (Checkpoint.load(each.checkpoint_path) for each in (whole, run))
    assert same(one.model, other.model)
    assert same(one.trained or {}, other.trained or {})
    assert not same(one.model, one.trained or {})


@pytest.mark.parametrize(
    "option",
    [
        {"label_smoothing": 0.1},
        {"distil": 0.5},
        {"weight_ema": 0.9},
        {"feature_split": True},
        {"backbone_epochs": 1},
        {"schedule": "cosine"},
        {"schedule": "triangular"},
        {"whiten": True},
        {"nesterov": True},
        {"decoupled_weight_decay": True},
        {"border": "reflect"},
        {"max_shift": 1},
        {"alternate_flip": True, "augment": "crop-flip"},
    ],
)
def test_an_option_changes_what_is_learned(option: dict[str, object], plain: Run, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", method="joint", **option)

    assert not same(weights(plain), weights(run))


def test_an_average_can_be_taken_back_by_a_word() -> None:
    assert config(weight_ema="none").weight_ema is None


def test_the_average_is_what_is_used(plain: Run, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", method="joint", weight_ema=0.9)

    checkpoint = Checkpoint.load(run.checkpoint_path)

    assert same(dict(run.model().state_dict()), checkpoint.model)
    # Training itself goes its way as without an average.
    assert same(checkpoint.trained or {}, weights(plain))


def test_the_backbone_trains_first_with_a_schedule_of_its_own(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", method="joint", epochs=3, backbone_epochs=1, schedule="cosine")

    records = logged(run)

    assert [[loss is None for loss in record["train_loss"]] for record in records] == [
        [True, False],
        [False, False],
        [False, False],
    ]
    # One epoch of the backbone, and two of the method.
    assert [record["lr"] for record in records] == pytest.approx([0.1, 0.1, 0.05])


def test_early_heads_are_left_alone_meanwhile(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", method="joint", backbone_epochs=1)

    early, last = (weights(run)[f"segments.{k}.head.features.0.1.num_batches_tracked"] for k in (0, 1))

    assert 2 * early == last > 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"backbone_epochs": 5}, "--backbone-epochs 5: expected fewer than the 5 of --epochs"),
        ({"backbone_epochs": 1, "feature_split": True}, "--backbone-epochs cannot go with --feature-split"),
        ({"distil_temperature": 2.0}, "--distil-temperature changes nothing without --distil"),
        (
            {"weight_ema": 0.99},
            "0.99 averages over 100 outer epochs of meta-gf, and the run has 5",
        ),
    ],
)
def test_what_makes_no_sense_together_is_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_options(OptionConfig.model_validate(given), exits=3, epochs=5, stepwise=False)


@pytest.mark.parametrize("given", [{"backbone_epochs": 1}, {"distil": 1.0}, {"feature_split": True}])
def test_a_single_exit_has_nobody_to_share_with(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="needs a model of several exits, found one of a single exit"):
        check_options(OptionConfig.model_validate(given), exits=1, epochs=5, stepwise=True)


@pytest.mark.parametrize(
    ("given", "epochs", "stepwise"),
    [
        ({}, 1, False),
        ({"backbone_epochs": 4, "label_smoothing": 0.1, "distil": 1.0, "weight_ema": 0.8}, 5, False),
        ({"feature_split": True, "label_smoothing": 0.1, "distil": 1.0, "weight_ema": 0.999}, 5, True),
        ({"distil": 1.0, "distil_temperature": 1.0}, 5, False),
        ({"weight_ema": 0.999}, 1, False),  # the only epoch is its own average
    ],
)
def test_what_goes_together_is_let_through(given: dict[str, object], epochs: int, stepwise: bool) -> None:
    check_options(OptionConfig.model_validate(given), 3, epochs, stepwise)


def test_a_refusal_comes_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = flags(epochs=2, distil_temperature=2)

    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "--distil-temperature changes nothing" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_options_are_off_by_default() -> None:
    off = {
        "backbone_epochs": 0,
        "label_smoothing": 0.0,
        "distil": 0.0,
        "weight_ema": None,
        "feature_split": False,
    }

    assert config().model_dump().items() >= off.items()


@pytest.mark.parametrize(
    ("words", "compiled"),
    [
        ([], False),
        (["--compile"], True),
        (["--compile", "--epochs", "3"], True),
        (["--no-compile"], False),
        (["--compile", "--no-compile"], False),
        (["--compile", "auto"], "auto"),
        (["--compile=false"], False),
        (["--compile", "True"], True),
    ],
)
def test_compiling_is_a_flag_that_may_be_left_to_a_trial(words: list[str], compiled: bool | str) -> None:
    given = command_line.given(Arguments, "fit", ["--dataset", "digits", "--out", "run", *words])
    assert given.read(FitConfig).compile == compiled


def test_compiling_may_be_a_variable_or_a_key_of_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "fit.toml"
    file.write_text("compile = true\n")
    words = ["--dataset", "digits", "--out", "run", "--config", str(file)]
    assert command_line.given(Arguments, "fit", words).read(FitConfig).compile is True
    monkeypatch.setenv("OFFRAMP_FIT_COMPILE", "auto")
    assert command_line.given(Arguments, "fit", words).read(FitConfig).compile == "auto"


def test_another_word_for_compiling_is_refused() -> None:
    with pytest.raises(
        command_line.SettingsValueError, match=r"^--compile: expected true, false or auto; found 'maybe'$"
    ):
        command_line.given(
            Arguments, "fit", ["--dataset", "digits", "--out", "run", "--compile", "maybe"]
        ).read(FitConfig)
