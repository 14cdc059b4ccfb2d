from pathlib import Path

import torch

from tests.training.fitting.test_problem import ALL, make
from training.fitting.problem import TrainingProblem
from training.fitting.weight_average import STATISTICS, LastWeights, WeightAverage, kept_share
from training.methods.interface import Phase
from training.models.multi_exit import MultiExitModel
from training.runs.checkpoint import Checkpoint


def weights(model: MultiExitModel) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def train(model: MultiExitModel, problem: TrainingProblem) -> list[list[torch.Tensor]]:
    """Take a step per batch; return the weights after each."""
    optimizer, seen = problem.optimizer(), []
    for batch in problem.batches(ALL):
        optimizer.zero_grad()
        torch.stack(problem.losses(batch, range(3))).sum().backward()  # type: ignore[no-untyped-call]
        problem.step(optimizer)
        seen.append(weights(model))
    return seen


def blended(steps: list[list[torch.Tensor]], decay: float, first: int = 1) -> list[torch.Tensor]:
    average = steps[0]
    for update, step in enumerate(steps[1:], start=first):
        kept = kept_share(decay, update)
        average = [kept * old + (1 - kept) * new for old, new in zip(average, step, strict=True)]
    return average


def test_the_first_weights_are_soon_forgotten() -> None:
    assert [round(kept_share(0.75, update), 3) for update in (1, 2, 10, 25, 26, 1000)] == [
        *(0.182, 0.25, 0.55, 0.743),
        *(0.75, 0.75),
    ]


def test_every_step_is_averaged() -> None:
    model, problem = make()
    average = WeightAverage(model, problem, decay=0.75, each_step=True)

    steps = train(model, problem)
    average.after_epoch(problem)

    for found, expected in zip(weights(average.model), blended(steps, 0.75), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_method_whose_steps_lead_elsewhere_is_averaged_by_epoch() -> None:
    model, problem = make()
    average = WeightAverage(model, problem, decay=0.75, each_step=False)
    epochs = []
    for problem.epoch in range(2):
        epochs.append(train(model, problem)[-1])
        average.after_epoch(problem)

    for found, expected in zip(weights(average.model), blended(epochs, 0.75), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_average_has_statistics_of_its_own() -> None:
    model, problem = make()
    average = WeightAverage(model, problem, decay=0.75, each_step=True)
    train(model, problem)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}

    average.after_epoch(problem)

    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    other, of_other = make()
    other.load_state_dict(average.model.state_dict())
    of_other.estimate_batchnorm(Phase(STATISTICS.name, STATISTICS.share))
    for name, buffer in other.named_buffers():
        assert torch.equal(buffer, dict(average.model.named_buffers())[name])


def test_an_average_goes_on_where_a_checkpoint_left_it(tmp_path: Path) -> None:
    model, problem = make()
    average = WeightAverage(model, problem, decay=0.75, each_step=False)
    train(model, problem)
    average.after_epoch(problem)
    state = average.model.state_dict()
    assert average.averaged == 1
    Checkpoint(1, state, {}, [], 0.0, average.trained(), average.averaged).save(tmp_path / "checkpoint.pt")
    saved = Checkpoint.load(tmp_path / "checkpoint.pt")

    other, of_other = make()
    other.load_state_dict(saved.trained or {})
    again = WeightAverage(other, of_other, decay=0.75, each_step=False)
    again.restore(saved)
    expected = blended([weights(again.model), weights(other)], 0.75)
    again.after_epoch(of_other)

    for found, value in zip(weights(again.model), expected, strict=True):
        torch.testing.assert_close(found, value)


def test_without_an_average_the_model_itself_is_kept() -> None:
    model, problem = make()
    kept = LastWeights(model)
    kept.after_epoch(problem)

    assert kept.model is model
    assert not kept.phases


def distance(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return float(torch.stack([(x - y).square().sum() for x, y in zip(a, b, strict=True)]).sum())


def test_a_short_run_is_not_the_average_of_its_beginning() -> None:
    model, problem = make()
    average = WeightAverage(model, problem, decay=0.999, each_step=True)

    steps = train(model, problem) + train(model, problem)

    found = weights(average.model)
    assert len(steps) == 10
    assert distance(found, steps[-1]) < distance(found, steps[0])


def test_the_warm_up_goes_on_with_the_run() -> None:
    model, problem = make()
    whole = WeightAverage(model, problem, decay=0.999, each_step=True)
    train(model, problem)
    saved = Checkpoint(1, whole.model.state_dict(), {}, [], 0.0, whole.trained(), whole.averaged)
    other, of_other = make()
    other.load_state_dict(model.state_dict())
    again = WeightAverage(other, of_other, decay=0.999, each_step=True)
    again.restore(saved)

    train(model, problem)
    train(other, of_other)

    for found, expected in zip(weights(again.model), weights(whole.model), strict=True):
        assert torch.equal(found, expected)


def test_an_average_from_before_the_warm_up_goes_on_without_one() -> None:
    model, problem = make()
    average = WeightAverage(model, problem, decay=0.75, each_step=False)
    train(model, problem)
    before = [0.5 * parameter for parameter in weights(model)]
    kept = {**model.state_dict(), **dict(zip(dict(model.named_parameters()), before, strict=True))}
    average.restore(Checkpoint(1, kept, {}, [], 0.0, model.state_dict()))

    average.after_epoch(problem)

    assert average.averaged is None
    for found, old, new in zip(weights(average.model), before, weights(model), strict=True):
        torch.testing.assert_close(found, 0.75 * old + 0.25 * new)
