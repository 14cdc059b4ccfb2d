"""The features that wait before one stage, on the device: a slab of blocks, in which rows keep their places.

A batch's features are written into a free block, straight from the segment's outputs. From then on its rows
are told apart by their places alone, and the host passes, merges and drops these. The set of used places is
derived from the queues: no call says that a row has gone, so none is forgotten.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from serving.bundle.manifest import ROWS, TensorSpec
from serving.engine.device import Device

Places = npt.NDArray[np.int64]
"""Indices of rows in a slab, [N]."""

_FIRST_BLOCKS = 4


class Slab:
    """Tensors of a few blocks of rows; at least one block is free, to gather scattered rows in.

    It doubles when more than half of its rows are in use, and until then makes room by moving the rows of the
    emptiest blocks together. So it never has more rows than two blocks and four times those that once waited
    together, or its first four blocks; it shrinks to these when none wait.

    Args:
        specs: the feature tensors of the boundary.
        block_rows: rows of a block, the most that one batch has.
        device: where they are.
    """

    def __init__(self, specs: Sequence[TensorSpec], block_rows: int, device: Device) -> None:
        self._specs = specs
        self._block_rows = block_rows
        self._device = device
        self._mover = device.open_session(_gather_model(specs))
        self.tensors = self._new_tensors(_FIRST_BLOCKS * block_rows)
        """One OrtValue [rows, ...] for each of the specs, until the next `make_room`."""

    @property
    def rows(self) -> int:
        """Number of rows of the tensors, in use or not."""
        return int(self.tensors[0].shape()[0]) if self.tensors else 0

    def make_room(self, used: Sequence[Places]) -> int:
        """Find a free block.

        Args:
            used: the places in use, each once; changed in place where rows are moved.

        Returns:
            The first place of the block.

        Raises:
            Exception: the device has no memory left; the slab and the places are then as they were.
        """
        in_use = np.concatenate([*used, np.empty(0, np.int64)])
        first_rows = _FIRST_BLOCKS * self._block_rows
        if not in_use.size:
            if self.rows != first_rows:
                self.tensors = []  # before the new ones: the device holds one or the other
                self.tensors = self._new_tensors(first_rows)
            return 0
        if 2 * in_use.size > self.rows - self._block_rows:
            self._grow(in_use)
        counts = self._counts(in_use)
        if np.count_nonzero(counts == 0) < 2:
            self._gather_scattered(in_use, counts, used)
            counts = self._counts(np.concatenate(used))
        return int(np.flatnonzero(counts == 0)[0]) * self._block_rows

    def bind_output(self, binding: Any, index: int, first: int, rows: int) -> None:
        """Have a session write one of the tensors at rows [first, first + rows)."""
        self._bind(binding, self._specs[index].name, self.tensors[index], index, first, rows)

    def _bind(self, binding: Any, name: str, tensor: Any, index: int, first: int, rows: int) -> None:
        spec = self._specs[index]
        dtype, shape = np.dtype(spec.dtype), batch_shape(spec, rows)
        pointer = tensor.data_ptr() + first * math.prod(shape[1:]) * dtype.itemsize
        binding.bind_output(name, self._device.kind, 0, dtype.type, shape, pointer)

    def _counts(self, in_use: Places) -> npt.NDArray[np.intp]:
        """Number of rows of each block that are in use."""
        return np.bincount(in_use // self._block_rows, minlength=self.rows // self._block_rows)

    def _gather_scattered(self, in_use: Places, counts: npt.NDArray[np.intp], used: Sequence[Places]) -> None:
        """Move the rows of the emptiest blocks, two at least, into the free one."""
        free = int(np.flatnonzero(counts == 0)[0])
        emptiest = [block for block in np.argsort(counts, kind="stable").tolist() if block != free]
        fitting = np.cumsum(counts[emptiest]) <= self._block_rows
        blocks = np.array(emptiest)[fitting]
        moving = in_use[np.isin(in_use // self._block_rows, blocks)]
        first = free * self._block_rows
        self._copy(moving, self.tensors, first)
        where = np.arange(self.rows)
        where[moving] = first + np.arange(moving.size)
        for places in used:
            places[:] = where[places]

    def _grow(self, in_use: Places) -> None:
        """Double the slab; rows keep their places."""
        larger = self._new_tensors(2 * self.rows)
        for block in np.unique(in_use // self._block_rows).tolist():
            first = block * self._block_rows
            self._copy(np.arange(first, first + self._block_rows), larger, first)
        self.tensors = larger

    def _copy(self, source: Places, target: list[Any], first: int) -> None:
        """Copy up to a block of rows to the places from `first` on, whole blocks, so that shapes are few."""
        rows = np.resize(source, self._block_rows)
        binding = self._mover.io_binding()
        binding.bind_cpu_input(ROWS, rows)
        for index, (spec, tensor) in enumerate(zip(self._specs, self.tensors, strict=True)):
            binding.bind_ortvalue_input(spec.name, tensor)
            self._bind(binding, _moved(spec.name), target[index], index, first, self._block_rows)
        binding.synchronize_inputs()
        self._mover.run_with_iobinding(binding)
        binding.synchronize_outputs()

    def _new_tensors(self, rows: int) -> list[Any]:
        return [self._device.allocate(batch_shape(spec, rows), spec.dtype) for spec in self._specs]


def batch_shape(spec: TensorSpec, rows: int) -> list[int]:
    """The shape of a tensor at so many rows."""
    return [rows if size is None else size for size in spec.shape]


def _moved(name: str) -> str:
    return f"{name}_moved"


def _gather_model(specs: Sequence[TensorSpec]) -> bytes:
    """A model that picks `rows` out of every tensor."""
    values = {
        spec.name: (helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), list(spec.shape[1:]))
        for spec in specs
    }
    graph = helper.make_graph(
        [helper.make_node("Gather", [name, ROWS], [_moved(name)], axis=0) for name in values],
        "move",
        [
            helper.make_tensor_value_info(ROWS, onnx.TensorProto.INT64, ["M"]),
            *(
                helper.make_tensor_value_info(name, kind, ["N", *shape])
                for name, (kind, shape) in values.items()
            ),
        ],
        [
            helper.make_tensor_value_info(_moved(name), kind, ["M", *shape])
            for name, (kind, shape) in values.items()
        ],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())
