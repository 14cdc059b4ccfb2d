"""The types that the packages of the server share: arrays, the run of a stage, cheaper ways through it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Tensors = tuple[npt.NDArray[Any], ...]
FloatArray = npt.NDArray[np.float32]
ScoreArray = npt.NDArray[np.float64]
ClassArray = npt.NDArray[np.integer[Any]]
IndexArray = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Thresholds = tuple[float, ...]

RunStage = Callable[[int, Tensors], tuple[FloatArray, Tensors]]
"""(stage, inputs, each [N, ...]) -> probabilities float32 [N, C], features; new arrays, not views."""
WaitingFeatures = Callable[[int], Sequence[Tensors]]
"""(stage from 1) -> the features that wait for it, as `run` returned them; `run` may change them in place."""


class MakeRunStage(Protocol):
    """Makes the `run` of one scheduler, whose waiting features it can look up."""

    def __call__(self, waiting: WaitingFeatures, *, max_batch: int) -> RunStage:
        """Make one for batches of up to `max_batch` rows."""


@dataclass(frozen=True)
class FastPaths:
    """Graphs that can run in the place of segments.

    Attributes:
        headless: by stage, the segment without its head: inputs [N, ...] -> the features for the next stage,
            the same to the last bit.
        whole: all segments in one graph, with the last head alone: images -> probabilities [N, C].
        whole_is_exact: whether these are the segments' own to the last bit, as far as was seen.
    """

    headless: Mapping[int, Callable[[Tensors], Tensors]] = field(default_factory=dict)
    whole: Callable[[Tensors], FloatArray] | None = None
    whole_is_exact: bool = True

    @property
    def steps_only(self) -> "FastPaths":
        """Those that are no longer than a stage, for work that callers must not wait for."""
        return FastPaths(self.headless)


NO_FAST_PATHS = FastPaths()
