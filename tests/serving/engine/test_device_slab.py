"""A slab: rows keep their features wherever room had to be made, and memory stays within its bound."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bundle.manifest import TensorSpec
from serving.engine.device import Device
from serving.engine.device_slab import Places, Slab
from serving.engine.providers import CPU

SPECS = (
    TensorSpec(name="wide", dtype="float16", shape=(None, 3, 2)),
    TensorSpec(name="number", dtype="float32", shape=(None,)),
)
BLOCK = 4


class Writer:
    """Stands for a segment that writes numbered rows into the slab."""

    def __init__(self, block_rows: int = BLOCK) -> None:
        self.slab = Slab(SPECS, block_rows, Device([CPU]))
        self.block_rows = block_rows
        self.written = 0

    def write(self, count: int, used: Sequence[Places]) -> tuple[Places, np.ndarray]:
        """Put `count` new rows in, and garbage into the rest of their block; returns places and numbers."""
        first = self.slab.make_room(used)
        assert first % self.block_rows == 0
        numbers = np.arange(self.written, self.written + count)
        self.written += count
        padded = np.resize(numbers, self.block_rows)
        for tensor, spec in zip(self.slab.tensors, SPECS, strict=True):
            content = tensor.numpy().copy()
            content[first : first + self.block_rows] = padded.reshape(-1, *(1,) * (len(spec.shape) - 1))
            tensor.update_inplace(content)
        return np.arange(first, first + count), numbers

    def read(self, places: Places) -> np.ndarray:
        wide, number = (tensor.numpy()[places] for tensor in self.slab.tensors)
        assert (wide == number[:, None, None]).all()
        return np.asarray(number)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), batches=st.integers(1, 40))
def test_rows_keep_their_features_and_memory_its_bound(data: st.DataObject, batches: int) -> None:
    writer, waiting, most = Writer(), list[tuple[Places, np.ndarray]](), 0
    for _ in range(batches):
        count = data.draw(st.integers(1, BLOCK))
        waiting.append(writer.write(count, [places for places, _ in waiting]))
        survivors = []
        for places, numbers in waiting:
            stays = np.array(data.draw(st.lists(st.booleans(), min_size=len(places), max_size=len(places))))
            if stays.any():
                survivors.append((places[stays], numbers[stays]))
        most = max(most, sum(len(places) for places, _ in waiting))
        waiting = survivors
        assert len(np.unique([place for places, _ in waiting for place in places])) == sum(
            len(places) for places, _ in waiting
        )
        for places, numbers in waiting:
            np.testing.assert_array_equal(writer.read(places), numbers)
        assert writer.slab.rows <= max(4 * BLOCK, 4 * most + 2 * BLOCK)


def test_scattered_rows_are_moved_together_before_more_memory_is_taken() -> None:
    writer, waiting = Writer(), list[Places]()
    for number in range(50):
        places, _ = writer.write(BLOCK, waiting)
        waiting = [*waiting, places[-1:]][-5:]
        assert writer.slab.rows == 4 * BLOCK, number
    assert [writer.read(places).item() for places in waiting] == [4 * number + 3 for number in range(45, 50)]


def test_a_slab_shrinks_when_nobody_waits_any_more() -> None:
    writer, waiting = Writer(), list[Places]()
    for _ in range(20):
        waiting.append(writer.write(BLOCK, waiting)[0])
    assert writer.slab.rows >= 20 * BLOCK
    places, numbers = writer.write(2, [])
    assert writer.slab.rows == 4 * BLOCK
    np.testing.assert_array_equal(writer.read(places), numbers)


def test_a_device_without_memory_left_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, waiting = Writer(), list[tuple[Places, np.ndarray]]()
    for _ in range(2):
        waiting.append(writer.write(BLOCK, [places for places, _ in waiting]))

    def refuse(self: Device, shape: Sequence[int], dtype: str) -> Any:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as full:
        full.setattr(Device, "allocate", refuse)
        with pytest.raises(RuntimeError, match="out of memory"):
            writer.slab.make_room([places for places, _ in waiting])
    for places, numbers in waiting:
        np.testing.assert_array_equal(writer.read(places), numbers)
    waiting.append(writer.write(BLOCK, [places for places, _ in waiting]))
    for places, numbers in waiting:
        np.testing.assert_array_equal(writer.read(places), numbers)
