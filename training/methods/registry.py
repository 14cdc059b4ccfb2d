"""The methods by name, with their options."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pydantic import BaseModel

from training.errors import ConfigError
from training.methods.aggregators import Aggregated, aggregator, aggregator_options
from training.methods.cagrad import CAGrad, CAGradOptions
from training.methods.gradient_equilibrium import GradientEquilibrium, GradientEquilibriumOptions
from training.methods.interface import MultiExitProblem, Phase
from training.methods.joint import Joint, JointOptions
from training.methods.meta_gf import MetaGF, MetaGFOptions
from training.methods.online_fusion import OnlineFusion, OnlineFusionOptions
from training.methods.pcgrad import PCGrad, PCGradOptions
from training.option_parsing import settle


class Method(Protocol):
    """The rule by which one epoch turns n exit losses into an update; it keeps its state between epochs."""

    def phases(self) -> Sequence[Phase]:
        """Return the passes over the data that an epoch makes, in order."""

    def epoch(self) -> None:
        """Train for one epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the next epoch depends on besides the parameters; tensors and plain values only."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""

    def facts(self) -> dict[str, float]:
        """Return what the record of an epoch says of the method, by name."""


@dataclass(frozen=True)
class MethodEntry:
    """A method and the model of its options.

    Args:
        build: makes the method for a problem.
        options: what can be chosen.
        check: raises ConfigError where options cannot be used that their model lets through.
        stepwise: whether every step leads to the weights that are kept; Meta-GF's tasks lead elsewhere.
    """

    build: Callable[[MultiExitProblem, Any], Method]
    options: type[BaseModel]
    check: Callable[[Any], object] = lambda _: None
    stepwise: bool = True


TORCHJD = "torchjd:"

METHODS: dict[str, MethodEntry] = {
    "joint": MethodEntry(Joint, JointOptions),
    "ge": MethodEntry(GradientEquilibrium, GradientEquilibriumOptions),
    "pcgrad": MethodEntry(PCGrad, PCGradOptions),
    "cagrad": MethodEntry(CAGrad, CAGradOptions),
    "online-gf": MethodEntry(OnlineFusion, OnlineFusionOptions),
    "meta-gf": MethodEntry(MetaGF, MetaGFOptions, stepwise=False),
}


def method_entry(name: str) -> MethodEntry:
    """Return what is known of a method: one of `METHODS`, or `torchjd:` and the name of an aggregator.

    Raises:
        ConfigError: no such method.
    """
    if name.startswith(TORCHJD):
        chosen = name.removeprefix(TORCHJD)
        return MethodEntry(
            partial(Aggregated, chosen), aggregator_options(chosen), partial(aggregator, chosen)
        )
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}; known: {', '.join(METHODS)}, {TORCHJD}NAME")
    return METHODS[name]


def method_options(name: str, options: Mapping[str, Any] | None = None) -> BaseModel:
    """Read a method's options from values or text.

    Raises:
        ConfigError: an unknown method or option, a value that does not fit, or a package that is missing.
    """
    entry = method_entry(name)
    settled = settle(name, entry.options, options or {})
    entry.check(settled)
    return settled


def method(name: str, problem: MultiExitProblem, options: Mapping[str, Any] | None = None) -> Method:
    """Build the method `name` for `problem`.

    Raises:
        ConfigError: an unknown method or option, or a value that does not fit.
    """
    settled = method_options(name, options)
    return method_entry(name).build(problem, settled)
