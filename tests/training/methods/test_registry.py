import pytest

from tests.training.fakes import Quadratics
from tests.training.methods.test_joint import TARGETS
from training.errors import ConfigError
from training.methods import METHODS, method, method_options


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_trains_through_the_one_interface(name: str) -> None:
    problem = Quadratics(TARGETS, steps=20, lr=0.1)
    built = method(name, problem)

    for _ in range(3):
        built.epoch()

    passes = [phase.name for phase in built.phases()]
    assert problem.phases == passes * 3
    torch_targets = TARGETS.mean(0)
    assert (problem.parameters[0].detach() - torch_targets).abs().max() < 0.5


def test_options_are_read_from_text() -> None:
    assert (
        method_options("meta-gf", {"granularity": "channel", "eta_lr": "0.05"}).model_dump()["eta_lr"] == 0.05
    )


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("metagf", {}, "unknown method 'metagf'; known: joint, meta-gf"),
        ("joint", {"granularity": "tensor"}, "granularity: no such option (known: none)"),
        ("meta-gf", {"granularity": "layer"}, "found 'layer'"),
        ("meta-gf", {"eta_ema": "1.0"}, "less than 1"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(name: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        method_options(name, options)

    assert says in str(refused.value)
