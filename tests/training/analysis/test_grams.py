import pytest
import torch

from tests.training.fakes import Quadratics
from training.analysis.cosines import cosines, shared_parameters
from training.analysis.grams import expected_grams, mini_batch_grams

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)


def test_mini_batch_gradients_point_to_each_exits_target() -> None:
    problem = Quadratics(TARGETS, steps=2, weights=(0.1, 5.0, 1.0))
    steps = []

    grams = mini_batch_grams(problem, share=0.5, advance=lambda: steps.append(1))

    # At zero, an exit's gradient is minus its target, whatever its loss weighs.
    assert grams.shape == (2, len(shared_parameters(problem.reach)), 3, 3)
    assert grams[0, 0] == pytest.approx((TARGETS @ TARGETS.T).numpy())
    assert cosines(grams[1, 0])[0].tolist() == [1, 0, -1]
    assert len(steps) == 2


def test_expected_gradients_are_the_moves_of_the_exits_tasks() -> None:
    problem = Quadratics(TARGETS, steps=1)

    grams = expected_grams(problem, share=1.0)

    # One step of 0.5 towards the target: the moves are half the targets.
    assert grams[0, 0] == pytest.approx((TARGETS @ TARGETS.T).numpy() / 4)


def test_a_measurement_leaves_the_problem_as_it_was() -> None:
    problem = Quadratics(TARGETS)
    before = problem.snapshot()

    mini_batch_grams(problem, share=1.0)
    expected_grams(problem, share=1.0)

    after = problem.snapshot()
    assert all(torch.equal(a, b) for a, b in zip(before.parameters, after.parameters, strict=True))
    assert torch.equal(before.buffers["statistics"], after.buffers["statistics"])
    assert all(parameter.grad is None for parameter in problem.parameters)
