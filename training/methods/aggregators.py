"""torchjd's aggregators as methods: `torchjd:UPGrad` and the others, by the names they have there.

Source: torchjd (torchjd.org), which names the paper of each; its constructors' arguments are the options.

Scale: an aggregator that gives g for n equal gradients g works on the scale of the mean, and its result is
taken n times, so that learning rates mean what they mean for joint training. The others are left alone: they
give n·g, or have a scale of their own (Constant, FairGrad, NashMTL).

Deviations:
  - Only the parameters that at least two exits share are aggregated.
  - What an aggregator draws at random depends on seed, epoch and step alone.
  - What it remembers between steps (ExcessMTL, GradVac, NashMTL, PCD) begins anew with every epoch, so that
    an epoch depends on the parameters and the method's state alone.
"""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, BeforeValidator, ConfigDict, create_model
from torch import Tensor

from training.errors import ConfigError
from training.methods.interface import MultiExitProblem
from training.methods.step_methods import PerExitMethod

MEAN, OTHER = True, False  # whether n equal gradients give just that gradient
AGGREGATORS: Mapping[str, bool] = {
    "AlignedMTL": MEAN,
    "CAGrad": MEAN,
    "ConFIG": OTHER,
    "Constant": OTHER,
    "DualProj": MEAN,
    "ExcessMTL": MEAN,
    "FairGrad": OTHER,
    "GradDrop": OTHER,
    "GradVac": OTHER,
    "IMTLG": MEAN,
    "Krum": MEAN,
    "MGDA": MEAN,
    "Mean": MEAN,
    "NashMTL": OTHER,
    "PCD": MEAN,
    "PCGrad": OTHER,
    "Random": MEAN,
    "Sum": OTHER,
    "TrimmedMean": MEAN,
    "UPGrad": MEAN,
}

Numbers = Annotated[
    tuple[float, ...],
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
]
"""One number per exit, as text `1,2,3`."""


class Aggregated(PerExitMethod):
    """Steps along what an aggregator of torchjd makes of the exits' gradients.

    Args:
        name: a key of `AGGREGATORS`.
        problem: what is trained.
        options: see `aggregator_options`.

    Raises:
        ConfigError: it cannot work on this number of exits.
    """

    def __init__(self, name: str, problem: MultiExitProblem, options: BaseModel) -> None:
        super().__init__(problem, self._aggregate)
        exits, like = len(problem.reach), problem.parameters[0].detach()
        self._aggregator = aggregator(name, options, exits, like)
        self._scale = exits if AGGREGATORS[name] is MEAN else 1
        try:
            self._aggregate(torch.eye(exits).to(like), np.random.default_rng(0))
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"torchjd:{name} cannot combine {exits} exits: {error}") from error

    def epoch(self) -> None:
        """Train for one pass over the data."""
        if hasattr(self._aggregator, "reset"):
            self._aggregator.reset()
        super().epoch()

    def _aggregate(
        self, gradients: Float[Tensor, "exits size"], random: np.random.Generator
    ) -> Float[Tensor, " size"]:
        # Solvers fail on NaN in ways of their own; the check of the losses says what happened.
        if not torch.isfinite(gradients.sum()):
            return torch.full_like(gradients[0], torch.nan)
        with torch.random.fork_rng([gradients.device] if gradients.is_cuda else []):
            torch.manual_seed(int(random.integers(2**63)))
            combined: Tensor = self._aggregator(gradients)
        return self._scale * combined


def aggregator_options(name: str) -> type[BaseModel]:
    """Return the option model of an aggregator: its constructor's numbers, words and vectors.

    Raises:
        ConfigError: no such aggregator, or torchjd is not installed.
    """
    fields: dict[str, Any] = {}
    for argument in inspect.signature(_constructor(name), eval_str=True).parameters.values():
        kind = _option_type(argument.annotation)
        if kind is not None and argument.name != "n_tasks":
            required = argument.default is inspect.Parameter.empty
            fields[argument.name] = (kind, ... if required else argument.default)
    return create_model(f"{name}Options", __config__=ConfigDict(frozen=True, extra="forbid"), **fields)


def aggregator(name: str, options: BaseModel, exits: int = 2, like: Tensor | None = None) -> Any:
    """Build an aggregator.

    Args:
        name: a key of `AGGREGATORS`.
        options: see `aggregator_options`.
        exits: how many gradients it will combine.
        like: has the gradients' type and device.

    Raises:
        ConfigError: a package that it needs is missing, or a value does not fit.
    """
    constructor, like = _constructor(name), torch.zeros(()) if like is None else like
    values = {
        key: like.new_tensor(value) if isinstance(value, tuple) else value
        for key, value in options.model_dump().items()
    }
    if "n_tasks" in inspect.signature(constructor).parameters:
        values["n_tasks"] = exits
    try:
        return constructor(**values)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"torchjd:{name}: {error}") from error


def _constructor(name: str) -> Any:
    if name not in AGGREGATORS:
        raise ConfigError(f"unknown method 'torchjd:{name}'; of torchjd there are: {', '.join(AGGREGATORS)}")
    try:
        import torchjd.aggregation
    except ImportError as error:
        raise ConfigError(f"torchjd:{name}: {error}; install offramp[training]") from error
    return getattr(torchjd.aggregation, name)


def _option_type(annotation: Any) -> Any:
    """Return what a constructor's argument is as an option, or None for one that text cannot give."""
    kinds = {annotation} if get_origin(annotation) is Literal else {annotation, *get_args(annotation)}
    if kinds & {int, float, str, bool} or get_origin(annotation) is Literal:
        return annotation if Tensor not in kinds else float
    if Tensor in kinds:
        return Numbers | None if type(None) in kinds else Numbers
    return None
