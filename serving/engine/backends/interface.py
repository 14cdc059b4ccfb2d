"""The seam between the engine and a runtime: a backend opens sessions, a session runs one graph.

ONNX Runtime is one backend, OpenVINO another. Nothing above this package knows which of them computes.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.engine.backends.names import InferencePrecision, RuntimeName

Tensor = npt.NDArray[Any]
Feed = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output of a graph.

    Attributes:
        name: as in the ONNX file.
        dtype: as NumPy has it; None for a type that it does not have.
        shape: None for a size that is known only when the graph runs.
    """

    name: str
    dtype: "np.dtype[Any] | None"
    shape: tuple[int | None, ...]


@dataclass(slots=True)
class RunLimit:
    """A limit on the time that runs may take; `over` once it has passed."""

    over: bool = False


class Session(Protocol):
    """One graph, ready to run."""

    @property
    def inputs(self) -> tuple[GraphTensor, ...]:
        """What it takes, in the order of the graph."""

    @property
    def outputs(self) -> tuple[GraphTensor, ...]:
        """What it puts out, in the order of the graph."""

    @property
    def providers(self) -> tuple[str, ...]:
        """What runs it, best first: ONNX Runtime's execution providers, or OpenVINO's device."""

    def run(self, names: Sequence[str], feed: Feed) -> list[Tensor]:
        """Run the graph.

        Args:
            names: of the outputs wanted.
            feed: inputs by name, each [N, ...].

        Returns:
            The outputs wanted, each [N, ...]; new arrays.
        """

    def run_into(self, feed: Feed, outputs: Feed) -> None:
        """Run the graph and write outputs to where they belong.

        Args:
            feed: inputs by name, each [N, ...] and contiguous.
            outputs: by name, contiguous arrays of the right shape and type.
        """


class Backend(Protocol):
    """A runtime, set up for one model.

    Attributes:
        precision: what networks in float32 are computed in.
    """

    precision: InferencePrecision

    @property
    def name(self) -> RuntimeName:
        """Of the runtime."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The execution providers that were wanted, best first."""

    def batch_tolerance(self, providers: Sequence[str]) -> float | None:
        """How far a probability may differ between an image alone and in a batch; None where it may."""

    def open(self, model: bytes, threads: int, callers: int = 1) -> Session:
        """Open a session on a serialised graph.

        Args:
            model: the bytes of the ONNX file; never a path, by which a graph could reach for other files.
            threads: that compute one run.
            callers: how many threads may run it at a time.

        Raises:
            EngineError: the runtime cannot load it.
        """

    def limited(self, seconds: float) -> AbstractContextManager[RunLimit]:
        """Within it, runs of all sessions end after these seconds, as far as the runtime can end them."""
