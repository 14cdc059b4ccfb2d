from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from training.errors import NonFiniteLossError
from training.fitting.problem import Progress, Recipe, TrainingProblem
from training.methods.interface import Phase
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture
from training.schedules import sdn_tau
from training.schedules import step as step_schedule

ALL = Phase("all exits")


@dataclass(frozen=True)
class FakeBatch:
    images: Tensor
    labels: Tensor


class FakeImages:
    """Five batches of four random images."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.all = [
            FakeBatch(
                torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=generator),
                torch.tensor([0, 1, 2, 3]),
            )
            for _ in range(5)
        ]

    def train(
        self, epoch: int, phase: str, share: float = 1.0, part: slice = slice(None)
    ) -> Iterator[FakeBatch]:
        yield from self.all[: self.steps(share)][part]

    def steps(self, share: float = 1.0) -> int:
        return round(share * len(self.all))


def make(**recipe: object) -> tuple[MultiExitModel, TrainingProblem]:
    torch.manual_seed(0)
    model = architecture("msdnet-tiny").model(4)
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "schedule": step_schedule, "epochs": 2}
    return model, TrainingProblem(model, FakeImages(), Recipe(**{**settings, **recipe}))  # type: ignore[arg-type]


def test_the_learning_rate_follows_the_schedule_within_an_epoch() -> None:
    _, problem = make(epochs=1)
    optimizer, rates = problem.optimizer(), []

    for _ in problem.batches(ALL):
        problem.step(optimizer)
        rates.append(optimizer.param_groups[0]["lr"])

    # Progress at the five steps is 0, .2, .4, .6, .8: the fourth is past a half, the last past ¾.
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.001])


def test_losses_are_those_of_the_exits_asked_for() -> None:
    _, problem = make()
    (batch, *_) = FakeImages().all

    every = problem.losses(batch, range(3))

    torch.testing.assert_close(problem.losses(batch, [1])[0], every[1])
    assert [loss.shape for loss in every] == [()] * 3


def test_progress_reports_mean_losses_by_exit() -> None:
    _, problem = make()
    heard: list[Progress] = []
    problem.on_progress = heard.append

    seen = [problem.losses(batch, [2])[0].item() for batch in problem.batches(ALL)]

    assert (heard[-1].step, heard[-1].steps, heard[-1].images) == (5, 5, 20)
    assert heard[-1].losses == pytest.approx({2: sum(seen) / 5})


def test_parts_of_a_pass_are_the_pass() -> None:
    """Batches, progress, learning rates and mean losses of parts, another pass between them."""
    _, problem = make(epochs=1)
    heard: list[Progress] = []
    problem.on_progress = heard.append
    optimizer, seen, rates, losses = problem.optimizer(), [], [], []

    for number in range(2):
        for batch in problem.batches(Phase("exit 3", exits=(2,), part=(number, 2))):
            losses.append(problem.losses(batch, [2])[0].item())
            problem.step(optimizer)
            seen.append(batch)
            rates.append(optimizer.param_groups[0]["lr"])
        for batch in problem.batches(Phase("exit 1", exits=(0,), part=(number, 2))):
            problem.losses(batch, [0])

    assert all(torch.equal(a.images, b.images) for a, b in zip(seen, FakeImages().all, strict=True))
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.001])
    own = [progress for progress in heard if progress.phase == "exit 3"]
    assert [(progress.step, progress.steps, progress.images) for progress in own] == [(2, 5, 8), (5, 5, 20)]
    assert own[-1].losses == pytest.approx({2: sum(losses) / 5})


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where() -> None:
    model, problem = make()
    problem.epoch = 1

    def train() -> None:
        for number, batch in enumerate(problem.batches(Phase("exit 2"))):
            if number == 3:
                nn.init.constant_(next(model.segment(1).head.parameters()), float("inf"))
            problem.losses(batch, [1])

    with pytest.raises(NonFiniteLossError) as stopped:
        train()

    assert "the loss of exit 2 is nan in epoch 2, phase 'exit 2', step 4" in str(stopped.value)
    assert "lower --lr (now 0.1)" in str(stopped.value)


def test_a_snapshot_brings_back_parameters_and_statistics() -> None:
    model, problem = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    snapshot, optimizer = problem.snapshot(), problem.optimizer()
    for batch in problem.batches(ALL):
        torch.stack(problem.losses(batch, range(3))).sum().backward()  # type: ignore[no-untyped-call]
        problem.step(optimizer)
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())

    problem.restore(snapshot)

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_batchnorm_statistics_are_those_of_the_pass_alone() -> None:
    model, problem = make()
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.running_mean is not None
    norm.running_mean.fill_(1e6)  # what an earlier W left must not shine through

    problem.estimate_batchnorm(Phase("batchnorm", 0.4))

    images = torch.cat([batch.images for batch in FakeImages().all[:2]])
    first = model.segment(0).body[0].scales[0][0]  # type: ignore[index]
    expected = first(*model.normalise(images)).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected.detach())


def test_mixed_precision_keeps_losses_in_float32() -> None:
    _, problem = make(bf16=True)

    losses = problem.losses(FakeImages().all[0], range(3))

    assert all(loss.dtype == torch.float32 for loss in losses)


def test_losses_are_weighted_and_reported_plain() -> None:
    _, problem = make(loss_weighting=sdn_tau, epochs=2)
    heard: list[Progress] = []
    problem.on_progress, problem.epoch = heard.append, 1
    (batch, *_) = FakeImages().all

    seen = [problem.losses(some, [0])[0].item() / 0.235 for some in problem.batches(ALL)]
    plain = torch.stack(problem.losses(batch, range(3), weighted=False))
    weighted = torch.stack(problem.losses(batch, range(3)))

    # Half-way through, τ has come to 0.01 and half of its ceiling: of 0.45, 0.9, and 1 for the last.
    torch.testing.assert_close(weighted, plain * torch.tensor([0.235, 0.46, 1.0]))
    assert heard[-1].losses == pytest.approx({0: sum(seen) / 5})


def test_a_phase_reports_the_exits_it_is_about() -> None:
    _, problem = make()
    heard: list[Progress] = []
    problem.on_progress = heard.append

    for batch in problem.batches(Phase("exit 2", exits=(1,))):
        problem.losses(batch, range(3))

    assert heard[-1].losses.keys() == {1}


def test_random_numbers_depend_on_seed_epoch_and_step_alone() -> None:
    def drawn(seed: int, epoch: int, step: int) -> int:
        _, problem = make(seed=seed)
        problem.epoch = epoch
        torch.rand(3)
        return int(problem.generator("order", step).integers(2**62))

    assert drawn(0, 1, 2) == drawn(0, 1, 2)
    assert len({drawn(0, 1, 2), drawn(1, 1, 2), drawn(0, 2, 2), drawn(0, 1, 3)}) == 4
