import copy
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import nn

from tests.training.fakes import Quadratics
from tests.training.memory import PeakMemory
from training.methods.fusion import NORMALISATIONS
from training.methods.interface import Batch, MultiExitProblem, Phase
from training.methods.joint import Joint, JointOptions
from training.methods.learned_fusion import FusionRecipe, LearnedFusion
from training.methods.meta_gf import MetaGF, MetaGFOptions
from training.methods.tasks import expected_gradients, tasks_of

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]], dtype=torch.float64)


def method(problem: MultiExitProblem, **options: object) -> MetaGF:
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
        return float(torch.stack(problem.losses(batch, range(3))).detach().sum())

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
            alone.losses(batch, [k])[0].backward()  # type: ignore[no-untyped-call]
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


class Remembering(Quadratics):
    """Exits whose losses grow with what the running statistics have seen, so that no trace can hide."""

    def losses(self, batch: Batch, exits: Sequence[int], weighted: bool = True) -> list[torch.Tensor]:
        grown = 1 + float(self.statistics)
        return [grown * loss for loss in super().losses(batch, exits, weighted)]


def test_every_task_moves_as_if_it_were_the_only_one() -> None:
    tasks = tasks_of(3, exits_per_task=1, share=1.0)
    together = Remembering(TARGETS, steps=3, lr=0.05)

    moves = expected_gradients(together, together.snapshot(), tasks)

    for number, task in enumerate(tasks):
        alone = Remembering(TARGETS, steps=3, lr=0.05)
        (move,) = expected_gradients(alone, alone.snapshot(), [task])[0]
        assert torch.equal(moves[0][number], move)


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


@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("granularity", "groups"), [("tensor", 1), ("channel", 2), ("element", 2)])
def test_importances_of_every_granularity(granularity: str, groups: int, weights: str) -> None:
    meta = method(Quadratics(TARGETS, steps=3), granularity=granularity, weights=weights)

    meta.epoch()

    shared, deeper = meta.weights().values()
    assert (shared.shape, deeper.shape) == ((3, groups), (2, groups))
    for found in (shared, deeper):
        torch.testing.assert_close(found.sum(0), torch.ones(groups, dtype=torch.float64))
        assert found.std(0).max() > 0


def test_a_channel_of_a_matrix_is_a_row_and_an_element_an_entry() -> None:
    problem = Quadratics(TARGETS)
    problem.parameters = [nn.Parameter(torch.zeros(2, 3, 3, dtype=torch.float64)) for _ in problem.parameters]

    groups = [
        method(problem, granularity=granularity).weights()[0].shape[1]
        for granularity in ("tensor", "channel", "element")
    ]

    assert groups == [1, 2, 18]


def test_frozen_importances_are_those_of_the_first_epoch() -> None:
    """What the authors' public code does, for the ablation."""
    problem = Quadratics(TARGETS, steps=3)
    meta = method(problem, freeze_eta=True)
    meta.epoch()
    first, state = meta.weights()[0].clone(), copy.deepcopy(meta.state_dict())

    meta.epoch()
    resumed = method(Quadratics(TARGETS, steps=3), freeze_eta=True)
    resumed.load_state_dict(state)
    resumed.epoch()

    assert problem.phases.count("fusion") == 1
    assert torch.equal(meta.weights()[0], first)
    assert torch.equal(resumed.weights()[0], first)


def test_auxiliary_losses_pull_a_task_towards_the_other_exits() -> None:
    problem = Quadratics(TARGETS, lr=0.1)

    moves = expected_gradients(problem, problem.snapshot(), tasks_of(3, 1, 1.0), aux_weight=0.5)

    # Task 1 goes along its own target, and half-way along those of the others.
    torch.testing.assert_close(moves[0][0], 0.1 * (TARGETS[0] + 0.5 * (TARGETS[1] + TARGETS[2])))
    # What a task moves behind its exit is left out: a head's only expected gradient is its own task's.
    assert [len(move) for move in moves] == [3, 1, 1, 1, 2]
    torch.testing.assert_close(moves[2][0], 0.1 * TARGETS[1])


def test_all_exits_in_one_task_is_joint_training() -> None:
    together, joint = Quadratics(TARGETS, steps=4), Quadratics(TARGETS, steps=4)

    method(together, exits_per_task=3).epoch()
    Joint(joint, JointOptions()).epoch()

    for a, b in zip(together.parameters, joint.parameters, strict=True):
        torch.testing.assert_close(a, b)
    assert together.phases == ["exits 1–3", "batchnorm"]


def test_neighbouring_exits_can_share_a_task() -> None:
    problem = Quadratics(TARGETS)
    meta = method(problem, exits_per_task=2)

    meta.epoch()

    assert problem.phases == ["exit 1", "exits 2–3", "fusion", "batchnorm"]
    assert [weights.shape for weights in meta.weights().values()] == [(2, 1)]  # the deeper one has one task


def test_tasks_and_fusion_can_do_with_a_part_of_the_images() -> None:
    meta = method(Quadratics(TARGETS), task_share=0.5, fusion_share=0.2, bn_share=0.1)

    assert [phase.share for phase in meta.phases()] == [0.5, 0.5, 0.5, 0.2, 0.1]


@pytest.mark.parametrize(("fusion_loss", "same"), [("plain", True), ("weighted", False)])
def test_the_fusion_follows_the_loss_weighting_or_not(fusion_loss: str, same: bool) -> None:
    # The tasks are alike in both runs only as far as their direction goes, so both start from given moves.
    def learned(weights: list[float]) -> torch.Tensor:
        problem = Quadratics(TARGETS, steps=3, weights=weights)
        recipe = FusionRecipe(NORMALISATIONS["softmax"], "tensor", 0.1, 0.0, fusion_loss == "weighted")
        fusion = LearnedFusion(problem, problem.row_reach, recipe)
        start = problem.snapshot()
        moves = expected_gradients(Quadratics(TARGETS), start, tasks_of(3, 1, 1.0))
        fusion.learn(start, moves, Phase("fusion"))
        return fusion.weights()[0]

    assert torch.equal(learned([]), learned([0.1, 0.5, 1.0])) is same


class AllShared(Quadratics):
    """The most that can be asked for: seven exits, all of which reach every one of 16 equal parameters."""

    def __init__(self) -> None:
        super().__init__(torch.randn(7, 1000), lr=0.1, steps=3)
        self.parameters = [nn.Parameter(torch.zeros(1000)) for _ in range(16)]
        self.reach = torch.ones(7, 16, dtype=torch.bool)


def test_no_more_than_nine_copies_of_the_weights_are_held() -> None:
    """Beyond what joint training holds at its peak: seven moves, the start, and a little at a time."""
    epochs = [method(AllShared()).epoch, Joint(AllShared(), JointOptions()).epoch]
    peaks = []

    for epoch in epochs:
        with PeakMemory() as memory:
            epoch()
        peaks.append(memory.peak_bytes)

    weights_bytes = 4 * 16 * 1000
    assert peaks[0] > 8 * weights_bytes, "the moves and the start are counted"
    assert peaks[0] - peaks[1] <= 9 * weights_bytes


def test_a_single_exit_needs_no_eta() -> None:
    problem = Quadratics(TARGETS[:1])

    method(problem).epoch()

    torch.testing.assert_close(problem.parameters[0].detach(), TARGETS[0] / 2)


def test_the_outer_learning_rate_scales_shared_moves_alone() -> None:
    plain, double = Quadratics(TARGETS), Quadratics(TARGETS)

    method(plain, eta_lr=1e-9).epoch()
    method(double, eta_lr=1e-9, outer_lr=2).epoch()

    for index, shared in enumerate([True, False, False, False, True]):
        factor = 2 if shared else 1
        torch.testing.assert_close(double.parameters[index], factor * plain.parameters[index])


def test_eta_follows_the_loss_at_the_scaled_parameters() -> None:
    """∂L/∂η by the closed form, at ε = 3, is what the joint loss does when η is moved a little."""
    problem = Quadratics(TARGETS, steps=1)
    start = problem.snapshot()
    moves = expected_gradients(Quadratics(TARGETS), start, tasks_of(3, 1, 1.0))
    recipe = FusionRecipe(NORMALISATIONS["softmax"], "tensor", 1e-6, 0.0, weighted=True, outer_lr=3.0)
    fusion = LearnedFusion(problem, problem.row_reach, recipe)
    eta = fusion.state_dict()["eta"]["0"]

    def loss() -> float:
        fusion.place(start, moves)
        batch = next(iter(problem.batches(Phase("probe"))))
        return float(torch.stack(problem.losses(batch, range(3))).detach().sum())

    slopes = []
    for task in range(3):
        eta[task] += 1e-5
        above = loss()
        eta[task] -= 2e-5
        slopes.append((above - loss()) / 2e-5)
        eta[task] += 1e-5
    fusion.learn(start, moves, Phase("fusion"))

    # Adam's first step is against the sign of the gradient.
    assert torch.equal(-fusion.state_dict()["eta"]["0"].flatten().sign(), torch.tensor(slopes).sign())


def test_a_record_says_whether_the_fusion_learned_anything() -> None:
    problem = Quadratics(TARGETS, steps=30, lr=0.9)
    meta = method(problem)
    assert meta.facts()["fusion_deviation"] == pytest.approx(0, abs=1e-6)

    meta.epoch()

    pi = meta.weights()
    by_hand = [(pi[0] - 1 / 3).abs().mean(), (pi[4] - 1 / 2).abs().mean()]
    assert meta.facts()["fusion_deviation"] == pytest.approx(float(torch.stack(by_hand).mean()))
    assert meta.facts()["fusion_deviation"] > 0.01


def test_a_run_goes_on_with_the_average_that_it_began_with() -> None:
    problem = Quadratics(TARGETS, steps=3)
    begun = method(problem, eta_ema=0.9)
    begun.epoch()
    state, start = copy.deepcopy(begun.state_dict()), problem.snapshot()
    del state["eta_ema"]  # as states were written when 0.9 was the default
    begun.epoch()

    other = Quadratics(TARGETS, steps=3)
    other.restore(start)
    resumed = method(other)
    resumed.load_state_dict(state)
    resumed.epoch()

    assert torch.equal(resumed.weights()[0], begun.weights()[0])
