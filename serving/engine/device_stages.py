"""Runs the segments of a bundle with the features left on the device; only their places come back.

Every segment from the second on gathers its rows from the slab before it (the `rows` input, docs/bundle.md)
and writes its features into the slab after it. Images go up once; probabilities come down. Batches are padded
to a power of two, so that the device sees few shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle.manifest import ROWS, SegmentSpec
from serving.engine.device import Device
from serving.engine.device_slab import Slab, batch_shape
from serving.errors import EngineError
from serving.interfaces import FloatArray, Tensors, WaitingFeatures

_SMALLEST_BLOCK = 16  # rows: the least that keeps a block of 16-bit features aligned for the device


def padded(rows: int) -> int:
    """The size that a batch is padded to: the next power of two.

    >>> [padded(rows) for rows in (1, 2, 3, 17, 32)]
    [1, 2, 4, 32, 32]
    """
    return 1 << (rows - 1).bit_length()


def padded_sizes(max_batch: int) -> tuple[int, ...]:
    """All sizes that batches of up to `max_batch` rows are padded to.

    >>> padded_sizes(24)
    (1, 2, 4, 8, 16, 32)
    """
    return tuple(1 << power for power in range((max_batch - 1).bit_length() + 1))


@dataclass(slots=True)
class _Bound:
    """One segment at one batch size: what is bound for good, and the host's side of what goes up."""

    binding: Any
    host: npt.NDArray[Any]
    entry: Any
    probabilities: Any


class DeviceStages:
    """The `run` of one scheduler, whose features of stage 1, 2, … are places in slabs: int64 [N].

    Not for two threads at once, like the scheduler.

    Args:
        sessions: one for each segment.
        segments: what they take and put out; from the second on they take `rows`.
        device: where the sessions run.
        waiting: the features that wait for a stage, which is to say the places in use.
        max_batch: the most rows in one run.
    """

    def __init__(
        self,
        sessions: Sequence[Any],
        segments: Sequence[SegmentSpec],
        device: Device,
        *,
        waiting: WaitingFeatures,
        max_batch: int,
    ) -> None:
        self._sessions = sessions
        self._segments = segments
        self._device = device
        self._waiting = waiting
        self._max_batch = max_batch
        block_rows = max(_SMALLEST_BLOCK, padded(max_batch))
        self.slabs = [Slab(segment.feature_inputs, block_rows, device) for segment in segments[1:]]
        """The slab before stage 1, 2, …"""
        self._bound: dict[tuple[int, int], _Bound] = {}

    def run(self, stage: int, inputs: Tensors) -> tuple[FloatArray, Tensors]:
        """Run one segment.

        Args:
            stage: the index of the segment, from 0.
            inputs: for stage 0 the images, uint8 [N, H, W, 3]; later the places that the stage before
                returned.

        Returns:
            Probabilities, float32 [N, C], and the features' places in the next slab, int64 [N].

        Raises:
            EngineError: there are more rows than `max_batch`.
        """
        (rows,) = inputs
        count = len(rows)
        if count > self._max_batch:
            raise EngineError(f"expected at most {self._max_batch} rows, found {count}")
        size = padded(count)
        bound = self._bound.get((stage, size)) or self._bind(stage, size)
        bound.host[:count] = rows
        bound.host[count:] = rows[-1]
        bound.entry.update_inplace(bound.host)
        binding = bound.binding
        if stage:
            for spec, tensor in zip(
                self._segments[stage].feature_inputs, self.slabs[stage - 1].tensors, strict=True
            ):
                binding.bind_ortvalue_input(spec.name, tensor)
        features: Tensors = ()
        if stage + 1 < len(self._segments):
            slab = self.slabs[stage]
            first = slab.make_room([places for (places,) in self._waiting(stage + 1)])
            for index in range(len(slab.tensors)):
                slab.bind_output(binding, index, first, size)
            features = (np.arange(first, first + count),)
        binding.synchronize_inputs()
        self._sessions[stage].run_with_iobinding(binding)
        binding.synchronize_outputs()
        probabilities = np.array(bound.probabilities.numpy()[:count])
        return probabilities, features

    def _bind(self, stage: int, size: int) -> _Bound:
        segment = self._segments[stage]
        spec = next(spec for spec in segment.inputs if spec.name == ROWS) if stage else segment.inputs[0]
        answer = segment.outputs[0]
        bound = _Bound(
            binding=self._sessions[stage].io_binding(),
            host=np.zeros(batch_shape(spec, size), spec.dtype),
            entry=self._device.allocate(batch_shape(spec, size), spec.dtype),
            probabilities=self._device.allocate(batch_shape(answer, size), answer.dtype),
        )
        bound.binding.bind_ortvalue_input(spec.name, bound.entry)
        bound.binding.bind_ortvalue_output(answer.name, bound.probabilities)
        self._bound[stage, size] = bound
        return bound
