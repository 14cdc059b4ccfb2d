"""Drift: alarms for other images, whatever the budgets; silence for the same ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.confidence import calibration_score
from serving.drift import SHIFT, DriftMonitor, alarm_limit, stability_index
from serving.events import DriftMeasured, Event
from serving.thresholds import exits_taken

NEVER = (2.0, 2.0, -np.inf)


def scores(rows: int, seed: int, harder: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    ease = random.beta(2, 1 + 3 * harder, rows)[:, None]
    confidence = np.clip(ease + np.array([0.0, 0.1, 0.2]) + 0.1 * random.standard_normal((rows, 3)), 0, 1)
    return calibration_score(confidence.astype(np.float32), seed)


def serve(monitor: DriftMonitor, rows: np.ndarray, *budgets: tuple[float, ...], batch: int = 100) -> None:
    """Show the monitor rows as a scheduler would: each at the exits that its own thresholds let it reach."""
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        vectors = [budgets[index % len(budgets)] for index in range(len(part))]
        exits = np.array(
            [exits_taken(row[None], np.array(v))[0] for row, v in zip(part, vectors, strict=True)]
        )
        for exit_index in range(3):
            there = np.flatnonzero(exits >= exit_index)
            if there.size:
                monitor.observe(exit_index, part[there, exit_index], [vectors[i] for i in there.tolist()])


def monitored(**options: int) -> tuple[DriftMonitor, list[DriftMeasured]]:
    events: list[Event] = []
    monitor = DriftMonitor("m", scores(3000, seed=0), emit=events.append, **options)
    return monitor, events  # type: ignore[return-value] # nothing else is emitted


def test_the_same_images_raise_no_alarm_whatever_the_mix_of_budgets() -> None:
    monitor, events = monitored(window_rows=1000)
    serve(monitor, scores(20_000, seed=1), (0.9, 0.8, -np.inf), (0.5, 0.7, -np.inf), NEVER)
    assert {event.exit_index for event in events} == {0, 1, 2}
    assert len(events) > 30
    assert not any(event.alarm or event.changed for event in events)
    assert max(event.score for event in events) < SHIFT


def test_harder_images_raise_one_that_ends_with_them() -> None:
    monitor, events = monitored(window_rows=500)
    serve(monitor, scores(1000, seed=1), NEVER)
    serve(monitor, scores(1000, seed=2, harder=0.5), NEVER)
    serve(monitor, scores(1000, seed=3), NEVER)
    at_first = [event for event in events if event.exit_index == 0]
    assert [event.alarm for event in at_first] == [False, False, True, True, False, False]
    assert [event.changed for event in at_first] == [False, False, True, False, True, False]
    assert monitor.latest()[0] == at_first[-1]


def test_rows_that_thresholds_did_not_bring_here_say_nothing() -> None:
    monitor, events = monitored(window_rows=10)
    monitor.observe(0, np.full(100, 0.01), [()] * 100)
    assert events == []
    mixed = [NEVER, ()] * 10
    monitor.observe(0, np.full(20, 0.01), mixed)
    assert len(events) == 1


def test_where_hardly_any_calibration_row_comes_nothing_is_expected() -> None:
    monitor, events = monitored(window_rows=10)
    everybody_leaves = (-1.0, -1.0, -np.inf)
    monitor.observe(1, np.full(100, 0.5), [everybody_leaves] * 100)
    assert events == []
    monitor.observe(1, np.full(20, 0.5), [everybody_leaves, NEVER] * 10)
    assert len(events) == 1


def test_saturated_scores_are_one_bin() -> None:
    crowd = calibration_score(np.ones((1000, 1), np.float32))
    monitor = DriftMonitor("m", crowd, window_rows=100)
    monitor.observe(0, crowd[:100, 0] - 1e-6, [(-np.inf,)] * 100)
    assert monitor.latest()[0].score == pytest.approx(0, abs=1e-9)


def test_the_index_is_symmetric_grows_with_the_shift_and_the_limit_falls_with_the_rows() -> None:
    even, skewed = np.array([50.0, 50.0]), np.array([80.0, 20.0])
    assert stability_index(even, skewed) == pytest.approx(stability_index(skewed, even))
    assert stability_index(even, skewed) > stability_index(even, np.array([60.0, 40.0])) > 0
    assert stability_index(np.array([0.0, 100.0]), even) < np.inf
    assert SHIFT < alarm_limit(2000, 2500, 10) < alarm_limit(200, 2500, 10)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_chance_alone_stays_far_under_the_limit(seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(10, 20.0))
    observed = random.multinomial(500, shares).astype(float)
    expected = random.multinomial(500, shares).astype(float)
    assert stability_index(observed, expected) < alarm_limit(500, 500, 10)
