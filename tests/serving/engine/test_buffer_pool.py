"""BufferPool memory: never under two arrays at once, and used again once it is free."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.buffer_pool import BufferPool


def address(array: np.ndarray[Any, Any]) -> int:
    return int(array.ctypes.data)


def test_memory_comes_back_with_the_last_view() -> None:
    recycled = BufferPool()
    array = recycled.empty((4, 5), "f4")
    place, view = address(array), array[2:]
    view_of_view = view[:1]
    del array, view
    assert address(recycled.empty((4, 5), "f4")) != place
    del view_of_view
    assert address(recycled.empty((20,), "f4")) == place


def test_what_is_handed_out_has_the_shape_and_the_type_and_can_be_written() -> None:
    array = BufferPool().empty((3, 2, 2), np.uint8)
    assert (array.shape, array.dtype.name, array.flags.c_contiguous) == ((3, 2, 2), "uint8", True)
    array[:] = 7
    assert BufferPool().empty((0, 3), "i8").shape == (0, 3)


def test_large_pieces_are_kept_by_their_bytes() -> None:
    pool = BufferPool()
    held = [pool.empty((100 * 2**20,), np.uint8) for _ in range(2)]  # never touched, so never resident
    places = {array.ctypes.data for array in held}
    held.clear()
    again = [pool.empty((100 * 2**20,), np.uint8) for _ in range(2)]
    assert len(places & {array.ctypes.data for array in again}) >= 1
    assert sum(map(len, pool._spare.values())) == 0
    again.clear()
    assert sum(map(len, pool._spare.values())) == 1
    pool.clear()
    assert sum(map(len, pool._spare.values())) == 0


def test_no_more_is_kept_than_a_few_of_a_size() -> None:
    recycled = BufferPool()
    held = [recycled.empty((100,), "f4") for _ in range(50)]
    places = {address(array) for array in held}
    held.clear()
    again = [recycled.empty((100,), "f4") for _ in range(4)]
    assert {address(array) for array in again} <= places
    assert not recycled._spare[512]  # four were kept, and they are all in use again


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60))
def test_arrays_that_are_held_keep_what_was_written(moves: list[tuple[bool, int]]) -> None:
    recycled, held = BufferPool(), list[tuple[np.ndarray[Any, Any], int]]()
    for number, (taking, size) in enumerate(moves):
        if taking:
            array = recycled.empty((size,), "i8")
            array[:] = number
            held.append((array, number))
        elif held:
            held.pop(size % len(held))
        assert all((array == written).all() for array, written in held)
