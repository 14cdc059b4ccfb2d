import torch

from tests.training.fakes import Quadratics
from training.methods.exit_gradients import ExitGradients
from training.methods.interface import Phase

TARGETS = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=torch.float64)


def filled() -> tuple[Quadratics, ExitGradients]:
    problem = Quadratics(TARGETS)
    gradients = ExitGradients(problem.parameters, problem.row_reach)
    (batch,) = problem.batches(Phase("probe"))
    gradients.fill(problem.losses(batch, range(3)))
    return problem, gradients


def test_a_row_per_exit_that_is_zero_where_it_uses_nothing() -> None:
    _, gradients = filled()

    # From 0 the gradient is minus the target; the first exit does not use the deeper parameter.
    assert (-gradients.matrix).tolist() == [[1, 2, 0, 0], [3, 4, 3, 4], [5, 6, 5, 6]]


def test_what_one_exit_alone_reaches_has_its_gradient() -> None:
    problem, _ = filled()

    for own, target in zip(problem.parameters[1:4], TARGETS, strict=True):
        assert own.grad is not None
        assert torch.equal(own.grad, -target)
    assert problem.parameters[0].grad is None


def test_a_combined_gradient_goes_back_where_it_came_from() -> None:
    problem, gradients = filled()

    gradients.spread(gradients.matrix[1])

    for shared in (problem.parameters[0], problem.parameters[-1]):
        assert shared.grad is not None
        assert torch.equal(shared.grad, -TARGETS[1])


def test_a_second_step_leaves_nothing_of_the_first() -> None:
    problem, gradients = filled()
    first = gradients.matrix.clone()
    with torch.no_grad():
        problem.parameters[0].fill_(1.0)

    (batch,) = problem.batches(Phase("probe"))
    second = gradients.fill(problem.losses(batch, range(3)))

    assert torch.equal(second[:, :2], first[:, :2] + 1)
    assert torch.equal(second[:, 2:], first[:, 2:])


def test_a_single_exit_shares_nothing() -> None:
    problem = Quadratics(TARGETS[:1])

    assert ExitGradients(problem.parameters, problem.row_reach).matrix.shape == (1, 0)
