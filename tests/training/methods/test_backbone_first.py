import copy

import torch
from torch import Tensor

from tests.training.fakes import Quadratics
from training.methods.backbone_first import BackboneFirst
from training.methods.joint import Joint, JointOptions
from training.methods.meta_gf import MetaGF, MetaGFOptions

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]], dtype=torch.float64)


def begun(epochs: int = 2) -> tuple[Quadratics, BackboneFirst]:
    problem = Quadratics(TARGETS, lr=0.25, steps=2)
    return problem, BackboneFirst(problem, epochs, Joint(problem, JointOptions()))


def values(problem: Quadratics) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in problem.parameters]


def test_the_last_exit_trains_alone_first() -> None:
    problem, method = begun()

    method.epoch()

    shared, own_1, own_2, own_3, deeper = values(problem)
    # Two steps of SGD with momentum on |w − target|²/2 from 0: 0.25 of the way, then .1875 + .9·.25 more.
    for parameter in (shared, own_3, deeper):
        torch.testing.assert_close(parameter, TARGETS[2] * (0.25 + 0.1875 + 0.225))
    assert not own_1.any()
    assert not own_2.any()


def test_then_the_method_trains_all_without_the_momentum_of_the_backbone() -> None:
    problem, method = begun()
    for _ in range(3):
        method.epoch()

    other, backbone = begun()
    for _ in range(2):
        backbone.epoch()
    Joint(other, JointOptions()).epoch()

    assert problem.phases == ["backbone", "backbone", "all exits"]
    assert all(torch.equal(a, b) for a, b in zip(values(problem), values(other), strict=True))


def test_it_goes_on_from_its_state() -> None:
    problem, method = begun(epochs=3)
    method.epoch()
    state, start = copy.deepcopy(method.state_dict()), values(problem)
    again, resumed = begun(epochs=3)
    with torch.no_grad():
        for parameter, value in zip(again.parameters, start, strict=True):
            parameter.copy_(value)
    resumed.load_state_dict(state)

    for _ in range(3):
        method.epoch()
        resumed.epoch()

    assert again.phases == ["backbone", "backbone", "all exits"]
    assert all(torch.equal(a, b) for a, b in zip(values(problem), values(again), strict=True))


def test_the_state_is_the_methods_own_with_the_backbones_beside_it() -> None:
    problem = Quadratics(TARGETS)
    inner = MetaGF(problem, MetaGFOptions())
    method = BackboneFirst(problem, 1, inner)

    # What reads a method's state, as training.importance does, need not know of the stage before.
    MetaGF(problem, MetaGFOptions()).load_state_dict(method.state_dict())
    assert method.state_dict().keys() - inner.state_dict().keys() == {"backbone"}


def test_its_phases_are_those_of_both_stages() -> None:
    _, method = begun()

    backbone, *others = method.phases()

    assert (backbone.name, tuple(backbone.exits or ())) == ("backbone", (2,))
    assert [phase.name for phase in others] == ["all exits"]
