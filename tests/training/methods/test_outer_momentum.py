"""Meta-GF's outer steps of some mini-batches, and the momenta that live on between them."""

import copy

import pytest
import torch

from tests.training.fakes import Quadratics
from training.methods.interface import MultiExitProblem
from training.methods.joint import Joint, JointOptions
from training.methods.meta_gf import MetaGF, MetaGFOptions
from training.methods.outer_momentum import OuterMomentum

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]], dtype=torch.float64)
ALL_OPTIONS = {"task_batches": 2, "task_momentum": True, "outer_momentum": 0.5, "own_path": "fusion"}


def method(problem: MultiExitProblem, **options: object) -> MetaGF:
    return MetaGF(problem, MetaGFOptions.model_validate(options))


def test_an_epoch_has_as_many_outer_steps_as_its_batches_need() -> None:
    problem = Quadratics(TARGETS, steps=5)

    method(problem, task_batches=2).epoch()

    assert problem.phases == ["exit 1", "exit 2", "exit 3", "fusion"] * 3 + ["batchnorm"]


def test_steps_as_long_as_an_epoch_are_the_paper() -> None:
    paper, steps = Quadratics(TARGETS, steps=4), Quadratics(TARGETS, steps=4)

    method(paper).epoch()
    method(steps, task_batches=4).epoch()

    assert all(torch.equal(a, b) for a, b in zip(paper.parameters, steps.parameters, strict=True))


def test_an_outer_step_starts_where_the_last_one_ended() -> None:
    short, long = Quadratics(TARGETS, lr=0.1, steps=2), Quadratics(TARGETS, lr=0.1, steps=4)
    twice, once = method(short), method(long, task_batches=2)

    twice.epoch()
    twice.epoch()
    once.epoch()

    assert all(torch.equal(a, b) for a, b in zip(short.parameters, long.parameters, strict=True))


def test_joint_training_is_one_task_of_all_exits_that_keeps_its_momentum() -> None:
    together, joint = Quadratics(TARGETS, lr=0.1, steps=6), Quadratics(TARGETS, lr=0.1, steps=6)

    method(together, exits_per_task=3, task_batches=1, task_momentum=True).epoch()
    Joint(joint, JointOptions()).epoch()

    for a, b in zip(together.parameters, joint.parameters, strict=True):
        torch.testing.assert_close(a, b)


def test_tasks_forget_their_momentum_unless_it_is_kept() -> None:
    # Exit 1's own parameter, after two steps of one batch: with momentum 0.9 the second step goes further.
    kept, fresh = (Quadratics(TARGETS, lr=0.1, steps=2) for _ in range(2))

    method(kept, task_batches=1, task_momentum=True).epoch()
    method(fresh, task_batches=1).epoch()

    torch.testing.assert_close(kept.parameters[1].detach(), (0.1 + 0.9 * 0.1 + 0.1 * 0.9) * TARGETS[0])
    torch.testing.assert_close(fresh.parameters[1].detach(), (0.1 + 0.1 * 0.9) * TARGETS[0])


@pytest.mark.parametrize("outer_lr", [1.0, 0.7])
def test_the_outer_momentum_is_nesterov_sgd_over_the_fused_moves(outer_lr: float) -> None:
    problem = Quadratics(TARGETS)
    momentum = OuterMomentum(problem, problem.row_reach, 0.6, outer_lr)
    expected = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    oracle = torch.optim.SGD([expected], lr=outer_lr, momentum=0.6, nesterov=True)
    fused_moves = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    for move in fused_moves:
        ahead = momentum.ahead(problem.snapshot())
        with torch.no_grad():
            problem.parameters[0].copy_(ahead.parameters[0] + momentum.scale * move)
        momentum.follow(ahead)
        expected.grad = -move
        oracle.step()

    torch.testing.assert_close(problem.parameters[0].detach(), expected.detach())


def test_outer_momentum_leaves_alone_what_one_task_alone_reaches() -> None:
    plain, ahead = (Quadratics(TARGETS, lr=0.1, steps=4) for _ in range(2))

    method(plain, task_batches=2, eta_lr=1e-9).epoch()
    method(ahead, task_batches=2, eta_lr=1e-9, outer_momentum=0.5).epoch()

    for index, shared in enumerate([True, False, False, False, True]):
        assert torch.equal(ahead.parameters[index], plain.parameters[index]) is not shared


def test_outer_momentum_leaves_rows_of_one_task_alone() -> None:
    problem = Quadratics(TARGETS)
    reach = [reached.clone() for reached in problem.row_reach]
    reach[0] = torch.tensor([[True, True], [True, False], [True, False]])
    momentum = OuterMomentum(problem, reach, 0.5, 1.0)

    with torch.no_grad():
        problem.parameters[0].fill_(1.0)
    momentum.follow(Quadratics(TARGETS).snapshot())

    assert momentum.state_dict()["0"].tolist() == pytest.approx([1 / 1.5, 0])


def test_layers_of_one_exit_go_on_learning_in_the_fusion() -> None:
    task, fusion = (Quadratics(TARGETS, lr=0.1, steps=1) for _ in range(2))

    method(task, eta_lr=1e-9).epoch()
    method(fusion, eta_lr=1e-9, own_path="fusion").epoch()

    for exit_index, target in enumerate(TARGETS):
        own = exit_index + 1
        torch.testing.assert_close(task.parameters[own].detach(), 0.1 * target)
        torch.testing.assert_close(fusion.parameters[own].detach(), (0.1 + 0.1 * 0.9) * target)
    for shared in (0, 4):
        assert torch.equal(task.parameters[shared], fusion.parameters[shared])
    assert all(parameter.grad is None for parameter in fusion.parameters)
    assert all(parameter.requires_grad for parameter in fusion.parameters)


def test_they_go_on_where_eta_is_frozen() -> None:
    problem = Quadratics(TARGETS, lr=0.1, steps=1)
    meta = method(problem, freeze_eta=True, own_path="fusion")
    meta.epoch()
    weights = meta.weights()[0].clone()

    meta.epoch()

    assert problem.phases.count("fusion") == 2
    assert torch.equal(meta.weights()[0], weights)


def test_a_run_goes_on_with_its_momenta() -> None:
    problem = Quadratics(TARGETS, lr=0.1, steps=4)
    meta = method(problem, **ALL_OPTIONS)
    meta.epoch()
    state, start = copy.deepcopy(meta.state_dict()), problem.snapshot()
    meta.epoch()

    other = Quadratics(TARGETS, lr=0.1, steps=4)
    other.restore(start)
    resumed = method(other, **ALL_OPTIONS)
    resumed.load_state_dict(state)
    resumed.epoch()

    assert all(torch.equal(a, b) for a, b in zip(problem.parameters, other.parameters, strict=True))


def test_a_state_without_momenta_begins_them_anew() -> None:
    problem = Quadratics(TARGETS, steps=2)
    old = method(problem)
    old.epoch()
    state = {key: value for key, value in old.state_dict().items() if key not in ("velocity", "tasks")}

    resumed = method(Quadratics(TARGETS, steps=2), **ALL_OPTIONS)
    resumed.load_state_dict(state)

    assert torch.equal(resumed.weights()[0], old.weights()[0])
    assert not resumed.state_dict()["velocity"]["0"].any()
