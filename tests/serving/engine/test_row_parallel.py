"""Batches cut into slices: the same numbers as in one piece, and whoever fails is heard of."""

from itertools import count

import numpy as np
import onnxruntime
import pytest

from serving.engine.backends.interface import Feed
from serving.engine.backends.onnx_backend import OnnxSession
from serving.engine.buffer_pool import BufferPool
from serving.engine.row_parallel import RowParallelSession, can_slice, row_slices
from serving.engine.thread_pool import DaemonPool
from tests.bundles import tiny_images, tiny_segments

THREADS = 3


def session(stage: int = 0, rows: bool = False) -> OnnxSession:
    segment = tiny_segments(rows, 0)[stage]
    return OnnxSession(onnxruntime.InferenceSession(segment, providers=["CPUExecutionProvider"]))


def names(opened: OnnxSession) -> list[str]:
    return [value.name for value in opened.outputs]


@pytest.mark.parametrize("rows", [1, 5, 6, 7, 31])
def test_slices_put_out_what_the_whole_batch_does(rows: int) -> None:
    plain = session()
    feed = {plain.inputs[0].name: tiny_images(rows)}
    helpers = DaemonPool(THREADS - 1)
    sliced = RowParallelSession(plain, session(), THREADS, helpers, BufferPool())
    found = sliced.run(names(plain), feed)
    only_features = sliced.run(names(plain)[1:], feed)
    for tensor, expected in zip(found, plain.run(names(plain), feed), strict=True):
        assert tensor.dtype == expected.dtype
        np.testing.assert_array_equal(tensor, expected)
    assert len(only_features) == len(found) - 1


@pytest.mark.parametrize(("threads", "most"), [(1, 4), (3, 2)])
def test_slices_have_no_more_rows_than_memory_allows(threads: int, most: int) -> None:
    plain, seen = session(), Counting(session().raw)
    feed = {plain.inputs[0].name: tiny_images(13)}
    sliced = RowParallelSession(plain, seen, threads, DaemonPool(threads - 1), BufferPool(), most)
    for tensor, expected in zip(sliced.run(names(plain), feed), plain.run(names(plain), feed), strict=True):
        np.testing.assert_array_equal(tensor, expected)
    assert seen.runs == -(-13 // most)


class Counting(OnnxSession):
    """A session that counts its slices."""

    runs = 0

    def run_into(self, feed: Feed, outputs: Feed) -> None:
        self.runs += 1
        super().run_into(feed, outputs)


def test_a_view_that_is_not_contiguous_is_read_rightly() -> None:
    plain, images = session(), tiny_images(12)[::-1]
    feed = {plain.inputs[0].name: images}
    helpers = DaemonPool(THREADS - 1)
    found = RowParallelSession(plain, session(), THREADS, helpers, BufferPool()).run(names(plain), feed)
    np.testing.assert_array_equal(found[0], plain.run(names(plain), feed)[0])


class Failing(OnnxSession):
    """A session whose slices fail from some image on."""

    numbers = count(1)

    def run_into(self, feed: Feed, outputs: Feed) -> None:
        if next(self.numbers) == 2:
            raise RuntimeError("out of cheese")
        super().run_into(feed, outputs)


def test_a_slice_that_fails_fails_the_batch_and_the_next_one_runs() -> None:
    plain = session()
    feed = {plain.inputs[0].name: tiny_images(12)}
    helpers = DaemonPool(THREADS - 1)
    sliced = RowParallelSession(plain, Failing(session().raw), THREADS, helpers, BufferPool())
    with pytest.raises(RuntimeError, match="out of cheese"):
        sliced.run(names(plain), feed)
    np.testing.assert_array_equal(sliced.run(names(plain), feed)[0], plain.run(names(plain), feed)[0])


def test_slices_cover_every_row_once() -> None:
    for rows in range(4, 70):
        for threads in (2, 3, 16):
            parts = [row for part in row_slices(rows, threads) for row in range(part.start, part.stop)]
            assert parts == list(range(rows))


def test_a_graph_that_is_told_its_rows_is_never_cut() -> None:
    assert can_slice(session(1))
    assert not can_slice(session(1, rows=True))
