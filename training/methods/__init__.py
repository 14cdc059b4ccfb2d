"""The methods, by name: each turns the losses of n exits into one epoch's update of the parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from training.errors import ConfigError
from training.methods.joint import Joint, JointOptions
from training.methods.meta_gf import MetaGF, MetaGFOptions
from training.methods.problem import Phase, Problem


class Method(Protocol):
    """How one epoch turns n exit losses into an update; what it remembers between epochs is its state."""

    def phases(self) -> Sequence[Phase]:
        """Return the passes over the data that an epoch makes, in order."""

    def epoch(self) -> None:
        """Train for one epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the next epoch depends on besides the parameters; tensors and plain values only."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""


@dataclass(frozen=True)
class MethodEntry:
    """A method and the model of its options."""

    build: Callable[[Problem, Any], Method]
    options: type[BaseModel]


METHODS: dict[str, MethodEntry] = {
    "joint": MethodEntry(Joint, JointOptions),
    "meta-gf": MethodEntry(MetaGF, MetaGFOptions),
}


def method_options(name: str, options: Mapping[str, Any] | None = None) -> BaseModel:
    """Read a method's options from values or text.

    Raises:
        ConfigError: an unknown method or option, or a value that does not fit.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}; known: {', '.join(sorted(METHODS))}")
    try:
        return METHODS[name].options.model_validate(dict(options or {}))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, p['loc']))}: "
            + ("no such option" if p["type"] == "extra_forbidden" else f"{p['msg']}, found {p['input']!r}")
            for p in error.errors(include_url=False)
        )
        known = ", ".join(METHODS[name].options.model_fields) or "none"
        raise ConfigError(f"options of {name}: {problems} (known: {known})") from error


def method(name: str, problem: Problem, options: Mapping[str, Any] | None = None) -> Method:
    """Build the method `name` for `problem`.

    Raises:
        ConfigError: an unknown method or option, or a value that does not fit.
    """
    settled = method_options(name, options)
    return METHODS[name].build(problem, settled)
