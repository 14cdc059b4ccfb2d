import copy

import pytest
import torch

from tests.training.fakes import Quadratics
from training.config import FitConfig
from training.errors import ConfigError
from training.methods import METHODS, method, method_options

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 3.0], [1.0, 2.0]], dtype=torch.float64)
NAMES = [*METHODS, "torchjd:UPGrad", "torchjd:GradVac", "torchjd:GradDrop"]


@pytest.mark.parametrize("name", NAMES)
def test_every_method_trains_through_the_one_interface(name: str) -> None:
    problem = Quadratics(TARGETS, steps=20, lr=0.05)
    built = method(name, problem)

    for problem.epoch in range(3):
        built.epoch()

    passes = [phase.name for phase in built.phases()]
    assert problem.phases == passes * 3
    shared, *own, _ = problem.parameters
    for k, parameter in enumerate(own):  # each exit's own parameter comes home
        assert (parameter.detach() - TARGETS[k]).abs().max() < 0.2
    low, high = TARGETS.min(0).values, TARGETS.max(0).values
    assert ((shared.detach() >= low - 0.3) & (shared.detach() <= high + 0.3)).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_method_goes_on_from_its_state_as_if_it_had_never_stopped(name: str) -> None:
    problem = Quadratics(TARGETS, steps=5, lr=0.05)
    built = method(name, problem)
    built.epoch()
    state, start = copy.deepcopy(built.state_dict()), problem.snapshot()
    problem.epoch = 1
    built.epoch()

    other = Quadratics(TARGETS, steps=5, lr=0.05, epoch=1)
    other.restore(start)
    resumed = method(name, other)
    resumed.load_state_dict(state)
    torch.manual_seed(99)  # whatever was drawn in the meantime
    resumed.epoch()

    for a, b in zip(problem.parameters, other.parameters, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_trains_a_single_exit(name: str) -> None:
    problem = Quadratics(TARGETS[:1], steps=20, lr=0.05)

    method(name, problem).epoch()

    assert (problem.parameters[0].detach() - TARGETS[0]).abs().max() < 0.5


@pytest.mark.parametrize("name", [name for name in NAMES if name != "meta-gf"])
def test_every_step_method_is_joint_training_where_exits_agree(name: str) -> None:
    """Equal gradients: all but GE, which takes the mean, and CAGrad step as far as the sum does."""
    alike = TARGETS[2:].repeat(3, 1)
    problem, joint = Quadratics(alike, lr=0.1).agree(), Quadratics(alike, lr=0.1).agree()

    method(name, problem).epoch()
    method("joint", joint).epoch()

    factor = {"ge": 1 / 3, "cagrad": 1.4}.get(name, 1.0)
    torch.testing.assert_close(problem.parameters[0], factor * joint.parameters[0], rtol=1e-5, atol=0)


def test_options_are_read_from_text() -> None:
    found = method_options("meta-gf", {"granularity": "channel", "eta_lr": "0.05", "freeze_eta": "true"})

    assert found.model_dump()["eta_lr"] == 0.05
    assert found.model_dump()["freeze_eta"] is True


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "metagf",
            {},
            "unknown method 'metagf'; known: joint, ge, pcgrad, cagrad, online-gf, meta-gf, torchjd:NAME",
        ),
        ("joint", {"granularity": "tensor"}, "granularity: no such option (known: none)"),
        ("meta-gf", {"granularity": "layer"}, "found 'layer'"),
        ("meta-gf", {"eta_ema": "1.0"}, "less than 1"),
        ("meta-gf", {"fusion_share": "0"}, "greater than 0"),
        ("cagrad", {"c": "1"}, "less than 1"),
        ("pcgrad", {"c": "1"}, "c: no such option (known: none)"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(name: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        method_options(name, options)

    assert says in str(refused.value)


def test_the_help_of_the_command_line_names_every_method() -> None:
    text = FitConfig.model_fields["method"].description or ""
    assert [name for name in METHODS if name not in text] == []
