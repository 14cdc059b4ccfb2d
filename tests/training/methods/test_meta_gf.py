import copy
from itertools import pairwise

import pytest
import torch

from tests.training.fakes import Quadratics
from training.methods.meta_gf import MetaGF, MetaGFOptions
from training.methods.problem import Phase, Problem

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]], dtype=torch.float64)


def method(problem: Problem, **options: object) -> MetaGF:
    return MetaGF(problem, MetaGFOptions.model_validate(options))


def test_one_outer_epoch_by_hand() -> None:
    problem = Quadratics(TARGETS)

    method(problem, eta_ema=0.0, eta_lr=1e-9).epoch()

    # One SGD step at lr ½ moves every exit half the way to its target; η has hardly moved from 0, so the
    # shared parameter takes the mean of the moves and each exit's own parameter takes its move whole.
    torch.testing.assert_close(problem.parameters[0].detach(), TARGETS.mean(0) / 2)
    for k, target in enumerate(TARGETS):
        torch.testing.assert_close(problem.parameters[k + 1].detach(), target / 2)


def test_learned_weights_lower_the_joint_loss() -> None:
    # Exit 3 is far from the others and moves far: the plain mean of the moves is not the best mixture when
    # the tasks overshoot, so η has something to learn.
    def joint_loss(eta_lr: float) -> float:
        problem = Quadratics(TARGETS, steps=30, lr=0.9)
        method(problem, eta_ema=0.0, eta_lr=eta_lr).epoch()
        batch = next(iter(problem.batches(Phase("probe"))))
        return float(problem.losses(batch, range(3)).detach().sum())

    assert joint_loss(0.1) < joint_loss(1e-9)


def test_eta_goes_on_learning_in_every_epoch() -> None:
    """In the authors' public code the moving average rebinds η, and it never moves again."""
    problem = Quadratics(TARGETS, steps=5)
    meta = method(problem)
    seen = []

    for _ in range(4):
        meta.epoch()
        seen.append(meta.state_dict()["eta"]["0"].clone())

    assert all(not torch.equal(a, b) for a, b in pairwise(seen))


def test_the_parameters_are_those_of_the_averaged_eta() -> None:
    problem = Quadratics(TARGETS, steps=3)
    meta = method(problem, eta_ema=0.5)
    start = [p.detach().clone() for p in problem.parameters]

    meta.epoch()

    weights = meta.weights()[0]
    expected = torch.zeros(2, dtype=torch.float64)
    for k in range(3):
        alone = Quadratics(TARGETS, steps=3)
        optimizer = alone.optimizer()
        for batch in alone.batches(meta.phases()[k]):
            optimizer.zero_grad()
            alone.losses(batch, [k]).sum().backward()  # type: ignore[no-untyped-call]
            alone.step(optimizer)
        expected += weights[k] * (alone.parameters[0].detach() - start[0])
    torch.testing.assert_close(problem.parameters[0].detach(), expected)


def test_the_moving_average_keeps_its_share_of_the_last_eta() -> None:
    quick, slow = Quadratics(TARGETS, steps=3), Quadratics(TARGETS, steps=3)
    free, averaged = method(quick, eta_ema=0.0), method(slow, eta_ema=0.75)

    free.epoch()
    averaged.epoch()

    # The first epoch starts at η = 0, so the average is a quarter of what Adam found.
    torch.testing.assert_close(averaged.state_dict()["eta"]["0"], free.state_dict()["eta"]["0"] / 4)


def test_a_task_neither_sees_another_nor_leaves_a_trace() -> None:
    """Momentum and BatchNorm's statistics of one exit's epoch leak into the next in the public code."""
    together = Quadratics(TARGETS, steps=4)
    method(together).epoch()

    for k in range(3):
        alone = Quadratics(TARGETS[k : k + 1], steps=4)
        method(alone).epoch()
        assert torch.equal(together.parameters[k + 1], alone.parameters[1])
    assert together.statistics.item() == -1  # re-estimated last, whatever the passes left
    assert together.phases == ["exit 1", "exit 2", "exit 3", "fusion", "batchnorm"]


def test_an_epoch_depends_on_nothing_but_parameters_and_state() -> None:
    problem = Quadratics(TARGETS, steps=3)
    meta = method(problem)
    meta.epoch()
    state, start = copy.deepcopy(meta.state_dict()), problem.snapshot()
    meta.epoch()

    other = Quadratics(TARGETS, steps=3)
    other.restore(start)
    resumed = method(other)
    resumed.load_state_dict(state)
    resumed.epoch()

    for a, b in zip(problem.parameters, other.parameters, strict=True):
        assert torch.equal(a, b)


def test_gradients_are_wanted_again_after_the_fusion() -> None:
    problem = Quadratics(TARGETS)

    method(problem).epoch()

    assert all(parameter.requires_grad for parameter in problem.parameters)


@pytest.mark.parametrize(("granularity", "groups"), [("tensor", 1), ("channel", 2)])
def test_importances_per_tensor_and_per_channel(granularity: str, groups: int) -> None:
    meta = method(Quadratics(TARGETS, steps=3), granularity=granularity)

    meta.epoch()

    (weights,) = meta.weights().values()
    assert weights.shape == (3, groups)
    torch.testing.assert_close(weights.sum(0), torch.ones(groups, dtype=torch.float64))


def test_a_single_exit_needs_no_eta() -> None:
    problem = Quadratics(TARGETS[:1])

    method(problem).epoch()

    torch.testing.assert_close(problem.parameters[0].detach(), TARGETS[0] / 2)
