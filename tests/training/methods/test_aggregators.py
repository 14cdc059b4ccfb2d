from importlib.util import find_spec

import numpy as np
import pytest
import torch

from tests.training.fakes import Quadratics
from training.errors import ConfigError
from training.methods import method, method_options
from training.methods.aggregators import AGGREGATORS, MEAN

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 3.0], [-1.0, 2.0]], dtype=torch.float64)
OPTIONS: dict[str, dict[str, str]] = {
    "Constant": {"weights": "1,1,1"},
    "FairGrad": {"alpha": "1"},
    "Krum": {"n_byzantine": "0"},
    "TrimmedMean": {"trim_number": "1"},
}
# Two of them need solvers that are not among the training side's packages.
NEEDS = {"CAGrad": "cvxpy", "NashMTL": "cvxpy"}
USABLE = [name for name in AGGREGATORS if name not in NEEDS]


def shared_step(name: str, targets: torch.Tensor) -> torch.Tensor:
    """How far the shared parameter goes in one step at learning rate 1, from 0 and without momentum."""
    problem = Quadratics(targets, lr=1.0).agree()
    method(f"torchjd:{name}", problem, OPTIONS.get(name)).epoch()
    return problem.parameters[0].detach()


@pytest.mark.parametrize("name", USABLE)
def test_every_aggregator_trains(name: str) -> None:
    assert shared_step(name, TARGETS).isfinite().all()


@pytest.mark.parametrize("name", [name for name in USABLE if name != "FairGrad"])
def test_equal_gradients_give_the_joint_gradient(name: str) -> None:
    alike = TARGETS[1:2].repeat(3, 1)

    torch.testing.assert_close(shared_step(name, alike), alike.sum(0), rtol=1e-5, atol=1e-8)


def test_means_and_sums_are_both_the_joint_gradient() -> None:
    assert AGGREGATORS["Mean"] is MEAN
    for name in ("Mean", "Sum"):
        torch.testing.assert_close(shared_step(name, TARGETS), TARGETS.sum(0))


def test_options_are_the_constructors_arguments() -> None:
    found = method_options("torchjd:UPGrad", {"pref_vector": "1,2,3"}).model_dump()
    modes = method_options("torchjd:AlignedMTL", {"scale_mode": "rmse"}).model_dump()

    assert found == {"pref_vector": (1.0, 2.0, 3.0)}
    assert modes == {"pref_vector": None, "scale_mode": "rmse"}


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("UpGrad", {}, "unknown method 'torchjd:UpGrad'; of torchjd there are: AlignedMTL, CAGrad"),
        ("UPGrad", {"weights": "1"}, "weights: no such option (known: pref_vector)"),
        ("FairGrad", {}, "alpha: required"),
        ("AlignedMTL", {"scale_mode": "mode"}, "found 'mode'"),
        ("GradVac", {"beta": "2"}, "beta"),
        ("Constant", {"weights": "1,many"}, "found 'many'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(name: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        method_options(f"torchjd:{name}", options)

    assert says in str(refused.value)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_a_missing_solver_is_named_before_training(name: str) -> None:
    if find_spec(NEEDS[name]):
        pytest.skip(f"{NEEDS[name]} is installed")

    with pytest.raises(ConfigError, match=rf"torchjd:{name}: .*requires.*{NEEDS[name]}.*pip install"):
        method_options(f"torchjd:{name}", {"c": "0.4"} if name == "CAGrad" else {})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("UPGrad", {"pref_vector": "1,2"}),
        ("Krum", {"n_byzantine": "1"}),
        ("TrimmedMean", {"trim_number": "2"}),
    ],
)
def test_what_does_not_fit_the_number_of_exits_is_refused(name: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"torchjd:{name} cannot combine 3 exits"):
        method(f"torchjd:{name}", Quadratics(TARGETS), options)


def test_a_loss_that_is_not_finite_is_left_to_the_check_of_the_losses() -> None:
    problem = Quadratics(TARGETS * np.nan)

    method("torchjd:UPGrad", problem).epoch()

    assert problem.parameters[0].isnan().all()
