"""A trial of compiling: what it measures, and what becomes of one that fails; a run keeps the decision."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._inductor import cpp_builder
from torch._inductor.exc import InvalidCxxCompiler

from tests.training.small_runs import broken, config, same, trained
from training.fitting import compile_trial
from training.fitting.compile_choice import Choice, StepTimes, TrialError
from training.fitting.compile_trial import measure, run_trial, try_compiling
from training.fitting.fit import fit
from training.fitting.problem import TrainingProblem
from training.methods.interface import Phase
from training.models.multi_exit import MultiExitModel
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run
from training.runs.start import resumed, started


def network() -> MultiExitModel:
    return config().architecture(32).model(10)


def test_the_first_compiled_step_compiles_and_the_others_are_held_against_plain_ones() -> None:
    now = [0.0]
    calls = []

    def costs(name: str, seconds: Callable[[], float]) -> Callable[..., list[torch.Tensor]]:
        model = network()

        def forward(*args: object) -> list[torch.Tensor]:
            calls.append(name)
            now[0] += seconds()
            logits: list[torch.Tensor] = model(*args)
            return logits

        return forward

    compiled = costs("compiled", lambda: 60.0 if calls.count("compiled") == 1 else 2.0)
    model = network()
    model.register_forward_hook(lambda *_: now.__setitem__(0, now[0] + 3.0))
    found = measure(model, 2, bf16=False, compile_model=lambda _: compiled, clock=lambda: now[0])
    assert found == StepTimes(plain=3.0, compiled=2.0, compiling=58.0)


def test_a_trial_ends_when_its_time_is_up(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="compiling was not over after 0 s"):
        run_trial(tmp_path, 2, 0.01)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("echo 'BackendError: no' >&2; exit 1", "compiling failed: BackendError: no"),
        ("exit 3", "compiling failed: status 3"),
        ("echo done", "the trial failed: JSONDecodeError"),
        ("true", "the trial failed: IndexError"),
    ],
)
def test_what_a_trial_fails_with_is_said(
    program: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))

    with pytest.raises(TrialError, match=says):
        run_trial(tmp_path, 2, 60)


def test_where_there_is_no_compiler_nothing_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    monkeypatch.setattr(compile_trial, "step_seconds", lambda *_, **__: 1000.0)
    run, _ = started(tmp_path / "run", config(compile="auto"))

    choice = try_compiling(run, network(), (Phase("train"),), (10,), 16)

    assert not choice.compiled
    assert "needs a C++ compiler" in choice.reason


def test_looking_at_a_model_changes_neither_it_nor_random_numbers(tmp_path: Path) -> None:
    run, _ = started(tmp_path / "run", config(compile="auto"))
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)

    choice = try_compiling(run, model, (Phase("train"),), (10,), 16)

    assert "too short" in choice.reason
    assert torch.equal(torch.rand(3), drawn)
    assert same(before, model.state_dict())


def test_a_short_run_decides_against_it_and_trains_as_if_nobody_had_asked(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", method="joint")
    auto = trained(tmp_path / "auto", method="joint", compile="auto")
    settled = json.loads((auto.folder / "config.json").read_text())

    assert settled["settings"]["compile"] == "auto"
    assert settled["facts"]["compiling"]["compiled"] is False
    assert same(*(Checkpoint.load(run.checkpoint_path).model for run in (plain, auto)))


@pytest.mark.parametrize("compiled", [True, False])
def test_a_resumed_run_goes_on_as_was_decided(
    compiled: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked, compilations = [], []

    def decide(run: Run, *_: object) -> Choice:
        asked.append(run.folder)
        return Choice(compiled, "so it was measured", 7200.0, StepTimes(2.0, 1.0, 60.0))

    monkeypatch.setattr("training.fitting.fit.try_compiling", decide)

    def compile_problem(problem: TrainingProblem) -> None:
        compilations.append(problem)

    monkeypatch.setattr(TrainingProblem, "compile", compile_problem)
    folder = broken(monkeypatch, tmp_path / "run", 1, method="joint", compile="auto", epochs=3)
    assert (len(asked), len(compilations)) == (1, int(compiled))

    run, data = resumed(folder, {"compile": "auto", "max_minutes": 5.0})
    assert run.compiled is compiled
    fit(run, data)

    assert (len(asked), len(compilations)) == (1, 2 * int(compiled))
    kept = Run.open(folder)
    assert kept.config.max_minutes is None
    assert kept.facts.compiling == {
        "compiled": compiled,
        "reason": "so it was measured",
        "run_seconds": 7200.0,
        "trial": {"plain": 2.0, "compiled": 1.0, "compiling": 60.0},
    }


def test_a_run_of_before_is_compiled_as_its_setting_says(tmp_path: Path) -> None:
    run, _ = started(tmp_path / "run", config())
    path = run.folder / "config.json"
    stored = json.loads(path.read_text())
    del stored["facts"]["compiling"]
    path.write_text(json.dumps(stored))

    assert Run.open(run.folder).compiled is False


def test_the_trial_is_a_program_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = started(tmp_path / "run", config(compile="auto"))
    monkeypatch.setattr(
        compile_trial, "measure", lambda model, images, **_: StepTimes(images, model.exits, 0.5)
    )

    assert compile_trial.main([str(run.folder), "16"]) == 0
    assert json.loads(capsys.readouterr().out) == {"plain": 16, "compiled": 2, "compiling": 0.5}
