from pathlib import Path

import torch

from tests.training.test_problem import ALL, make
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
