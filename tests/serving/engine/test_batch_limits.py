"""How many rows fit: from the shapes of the tiny bundle."""

from serving.engine.batch_limits import kept_rows, most_rows, row_bytes, slice_rows
from tests.bundles import CLASSES, SIZE, tiny_manifest

SEGMENTS = tiny_manifest().segments
FEATURES = (48 + 8) * 4
ANSWER = len(CLASSES) * 4
IMAGE = SIZE * SIZE * 3


def test_a_row_is_as_large_as_its_shapes_say() -> None:
    assert row_bytes(SEGMENTS[0].inputs) == IMAGE
    assert row_bytes(SEGMENTS[1].outputs) == ANSWER + FEATURES


def test_what_goes_in_and_comes_out_stays_within_the_bytes() -> None:
    first, middle, last = IMAGE + ANSWER + FEATURES, 2 * FEATURES + ANSWER, FEATURES + ANSWER
    assert most_rows(SEGMENTS, 32, 10 * middle) == [10 * middle // first, 10, 10 * middle // last]
    assert most_rows(SEGMENTS, 4, 10 * middle) == [4, 4, 4]


def test_one_row_may_always_run() -> None:
    assert most_rows(SEGMENTS, 32, 1) == [1, 1, 1]
    assert kept_rows(SEGMENTS, 32, 1) == [1, 1, 1]


def test_slices_are_cut_by_the_largest_features_at_a_boundary() -> None:
    largest = max(IMAGE, ANSWER + FEATURES)
    assert slice_rows(SEGMENTS) == 32 * 2**20 // largest
    wide = SEGMENTS[0].outputs[1].model_copy(update={"shape": (None, 20 * 2**20)})
    assert slice_rows([SEGMENTS[0].model_copy(update={"outputs": (wide,)})]) == 1


def test_rows_on_the_device_are_not_gathered_twice() -> None:
    assert most_rows(tiny_manifest(rows=True).segments, 99, 5000) == most_rows(SEGMENTS, 99, 5000)


def test_buffers_keep_a_few_batches_within_the_bytes() -> None:
    assert kept_rows(SEGMENTS, 8, 2**30) == [16, 16, 16]
    assert kept_rows(SEGMENTS, 8, 10 * FEATURES)[1:] == [10, 10]
