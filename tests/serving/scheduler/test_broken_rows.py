"""Rows on which the net overflows: their requests fail, and what shares their batch does not notice."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import EngineError
from serving.events import RowsBroken
from serving.interfaces import Tensors
from serving.scheduler.broken_rows import broken_rows
from serving.scheduler.request import Constraints
from tests.serving.fakes import STAGES, Fixture

TERMS = Constraints(budget_flops=25.0, thresholds=())
STRAIGHT = Constraints(budget_flops=60.0, thresholds=(2.0, 2.0, float("-inf")), next_exits=(2, 2, 2))
VALUES = st.sampled_from([0.0, -3.5, 3e38, -3e38, np.nan, np.inf, -np.inf])


@given(
    st.lists(st.lists(VALUES, min_size=4, max_size=4), max_size=6), st.sampled_from([np.float32, np.float64])
)
def test_a_row_is_broken_where_a_value_is(rows: list[list[float]], dtype: type) -> None:
    tensor: np.ndarray = np.array(rows, dtype).reshape(-1, 2, 2)
    whole = np.zeros((len(rows), 3), np.float32)
    expected = [index for index, row in enumerate(rows) if not np.isfinite(row).all()]
    assert broken_rows((whole, tensor)).tolist() == expected


def test_whole_numbers_are_never_broken() -> None:
    assert not broken_rows((np.full((2, 3), 255, np.uint8), np.zeros((2, 0), np.float32))).size


def spoil(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch, spoilt: Callable[[int, int], float | None]
) -> None:
    """Have the net put a value into the features, or at the last stage the probabilities, of some rows."""
    run = fixture.net.run

    def broken_run(stage: int, inputs: Tensors) -> tuple[np.ndarray, Tensors]:
        numbers = inputs[0][:, 0].astype(int).tolist()
        probabilities, features = run(stage, inputs)
        features = tuple(feature.astype(np.float64) for feature in features)
        for row, number in enumerate(numbers):
            value = spoilt(stage, number)
            if value is not None:
                (features[0] if features else probabilities)[row, -1] = value
        return probabilities, features

    monkeypatch.setattr(fixture.scheduler, "_run", broken_run)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stage", range(STAGES))
@pytest.mark.parametrize("barrier", [False, True])
def test_only_the_request_with_the_row_fails(
    value: float, stage: int, barrier: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixture = Fixture(max_batch=8)
    before, hit, after = (fixture.inputs([2] * size) for size in (2, 3, 2))
    broken = hit[1][1][0]
    spoil(fixture, monkeypatch, lambda at, number: value if (at, number) == (stage, broken) else None)
    requests = [
        fixture.scheduler.submit(
            tuple(tensor.astype(np.float64) for tensor in inputs), TERMS, barrier=barrier
        )
        for inputs, _ in (before, hit, after)
    ]
    fixture.drain()
    assert requests[0].future.result(0) == before[1]
    assert requests[2].future.result(0) == after[1]
    error = requests[1].future.exception(0)
    assert isinstance(error, EngineError)
    assert f"exit {stage + 1}: the net put out values that are not numbers" in str(error)
    assert fixture.scheduler.waiting_rows == 0
    assert not fixture.scheduler.has_work
    told = [event for event in fixture.events if isinstance(event, RowsBroken)]
    assert told == [RowsBroken("fake", stage, 1)]


def test_rows_in_other_batches_of_a_failed_request_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = Fixture(max_batch=2)
    hit, spared = fixture.inputs([2, 2, 2]), fixture.inputs([0])
    spoil(fixture, monkeypatch, lambda at, number: np.nan if (at, number) == (0, 0) else None)
    failed, answered = (
        fixture.scheduler.submit(tuple(tensor.astype(np.float64) for tensor in inputs), TERMS)
        for inputs, _ in (hit, spared)
    )
    fixture.drain()
    assert isinstance(failed.future.exception(0), EngineError)
    assert answered.future.result(0) == spared[1]
    assert fixture.scheduler.waiting_rows == 0


def test_a_stage_without_its_head_is_watched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = Fixture(shortcuts=True)
    inputs, expected = fixture.inputs([2])
    broken, _ = fixture.inputs([2])
    straight = fixture.scheduler._shortcuts.whole
    assert straight is not None

    def whole(tensors: Tensors) -> np.ndarray:
        probabilities = straight(tensors)
        probabilities[tensors[0][:, 0] == 1] = np.nan
        return probabilities

    monkeypatch.setattr(fixture.scheduler, "_shortcuts", type(fixture.scheduler._shortcuts)({}, whole))
    good, bad = (fixture.scheduler.submit(given, STRAIGHT) for given in (inputs, broken))
    fixture.drain()
    assert good.future.result(0) == expected
    assert isinstance(bad.future.exception(0), EngineError)
