import copy

import torch

from tests.training.fakes import Quadratics
from training.methods.joint import Joint, JointOptions

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)


def test_one_step_goes_along_the_sum_of_the_gradients() -> None:
    problem = Quadratics(TARGETS, lr=0.1)

    Joint(problem, JointOptions()).epoch()

    torch.testing.assert_close(problem.parameters[0].detach(), 0.1 * TARGETS.sum(0))


def test_momentum_is_part_of_the_state() -> None:
    problem = Quadratics(TARGETS, steps=3, lr=0.1)
    joint = Joint(problem, JointOptions())
    joint.epoch()
    state, start = copy.deepcopy(joint.state_dict()), problem.snapshot()

    other = Quadratics(TARGETS, steps=3, lr=0.1)
    other.restore(start)
    resumed = Joint(other, JointOptions())
    resumed.load_state_dict(state)
    resumed.epoch()
    joint.epoch()

    assert torch.equal(problem.parameters[0], other.parameters[0])
