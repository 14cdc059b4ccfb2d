"""Drift: alarms for other images, whatever the budgets; silence for the same ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.events import DriftMeasured, Event
from serving.interfaces import ClassArray, ScoreArray
from serving.monitoring.drift import CHANCE, SHIFT, DriftMonitor, alarm_limit, stability_index
from serving.policy.confidence import calibration_score
from serving.policy.plan import exits_taken

CLASSES = 5
NEVER = (2.0, 2.0, -np.inf)


def scores(rows: int, seed: int, harder: float = 0.0) -> ScoreArray:
    random = np.random.default_rng(seed)
    ease = random.beta(2, 1 + 3 * harder, rows)[:, None]
    confidence = np.clip(ease + np.array([0.0, 0.1, 0.2]) + 0.1 * random.standard_normal((rows, 3)), 0, 1)
    return calibration_score(confidence.astype(np.float32), seed)


def classes(rows: int, seed: int, rarer: float = 0.0) -> ClassArray:
    """Answers of three exits that agree; class 0 is rarer than the others by a share."""
    shares = np.full(CLASSES, 1 / CLASSES)
    shares[0] *= 1 - rarer
    drawn = np.random.default_rng(seed + 1000).choice(CLASSES, (rows, 1), p=shares / shares.sum())
    return np.repeat(drawn, 3, axis=1)


def serve(
    monitor: DriftMonitor,
    rows: ScoreArray,
    *budgets: tuple[float, ...],
    answer: ClassArray | None = None,
    batch: int = 100,
) -> None:
    """Show the monitor rows as a scheduler would: each at the exits that its own thresholds let it reach."""
    answer = classes(len(rows), seed=7) if answer is None else answer
    for start in range(0, len(rows), batch):
        part, said = rows[start : start + batch], answer[start : start + batch]
        vectors = [budgets[index % len(budgets)] for index in range(len(part))]
        exits = np.array(
            [exits_taken(row[None], np.array(v))[0] for row, v in zip(part, vectors, strict=True)]
        )
        for exit_index in range(3):
            there = np.flatnonzero(exits >= exit_index)
            if there.size:
                thresholds = [vectors[i] for i in there.tolist()]
                monitor.observe(exit_index, part[there, exit_index], said[there, exit_index], thresholds)


def monitored(window_rows: int, calibration_rows: int = 3000) -> tuple[DriftMonitor, list[DriftMeasured]]:
    events: list[Event] = []
    score, answer = scores(calibration_rows, seed=0), classes(calibration_rows, seed=0)
    monitor = DriftMonitor("m", score, answer, CLASSES, emit=events.append, window_rows=window_rows)
    return monitor, events  # type: ignore[return-value] # nothing else is emitted


@pytest.mark.parametrize("size", [1, 20, 50])
def test_it_does_not_matter_how_many_rows_come_together(size: int) -> None:
    def measured(size: int) -> list[DriftMeasured]:
        monitor, events = monitored(500)
        rows, said = scores(2000, seed=3, harder=0.3)[:, 0], classes(2000, seed=3)[:, 0]
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            monitor.observe(0, rows[part], said[part], [(0.6, 0.7, -np.inf)] * size)
            monitor.observe(0, rows[:3], said[:3], [()] * 3)  # which thresholds did not bring there
        return events

    found = measured(size)
    assert len(found) == 4
    assert [event.rows for event in found] == [event.rows for event in measured(100)]
    assert [event.score for event in found] == pytest.approx([event.score for event in measured(100)])


def test_the_same_images_raise_no_alarm_whatever_the_mix_of_budgets() -> None:
    monitor, events = monitored(window_rows=1000)
    serve(monitor, scores(20_000, seed=1), (0.9, 0.8, -np.inf), (0.5, 0.7, -np.inf), NEVER)
    assert {event.exit_index for event in events} == {0, 1, 2}
    assert len(events) > 30
    assert not any(event.alarm or event.changed for event in events)


def test_harder_images_raise_one_that_ends_with_them() -> None:
    monitor, events = monitored(window_rows=500)
    serve(monitor, scores(1000, seed=1), NEVER)
    serve(monitor, scores(1000, seed=2, harder=0.5), NEVER)
    serve(monitor, scores(1000, seed=3), NEVER)
    at_first = [event for event in events if event.exit_index == 0]
    assert [event.alarm for event in at_first] == [False, False, True, True, False, False]
    assert [event.changed for event in at_first] == [False, False, True, False, True, False]
    assert {event.of for event in at_first if event.alarm} == {"scores"}
    assert monitor.latest()[0] == at_first[-1]


def test_a_change_too_small_for_one_window_is_seen_when_there_is_enough_of_it() -> None:
    monitor, events = monitored(window_rows=500, calibration_rows=20_000)
    serve(monitor, scores(8000, seed=2, harder=0.08), NEVER)
    at_first = [event for event in events if event.exit_index == 0]
    assert not at_first[0].alarm
    assert at_first[-1].alarm
    assert at_first[-1].rows > 500
    assert [event.changed for event in at_first].count(True) == 1


def test_a_small_change_that_ends_is_forgotten_with_its_windows() -> None:
    monitor, events = monitored(window_rows=500, calibration_rows=20_000)
    serve(monitor, scores(6000, seed=2, harder=0.08), NEVER)
    serve(monitor, scores(6000, seed=3), NEVER)
    at_first = [event.alarm for event in events if event.exit_index == 0]
    assert (at_first[11], at_first[-1]) == (True, False)


def test_the_same_scores_for_other_classes_are_drift_too() -> None:
    monitor, events = monitored(window_rows=1000)
    serve(monitor, scores(2000, seed=1), NEVER, answer=classes(2000, seed=1, rarer=0.5))
    assert {(event.alarm, event.of) for event in events} == {(True, "classes")}


def test_classes_beyond_those_there_are_bins_for_share_them() -> None:
    score, many = scores(3000, seed=0), np.random.default_rng(0).integers(0, 1000, (3000, 3))
    monitor = DriftMonitor("m", score, many, 1000, window_rows=1000)
    serve(monitor, scores(1000, seed=1), NEVER, answer=many[:1000])
    assert not monitor.latest()[0].alarm
    serve(monitor, scores(1000, seed=2), NEVER, answer=many[:1000] // 2)
    assert (monitor.latest()[0].alarm, monitor.latest()[0].of) == (True, "classes")


def test_rows_that_thresholds_did_not_bring_here_say_nothing() -> None:
    monitor, events = monitored(window_rows=10)
    monitor.observe(0, np.full(100, 0.01), np.zeros(100, int), [()] * 100)
    assert events == []
    mixed = [NEVER, ()] * 10
    monitor.observe(0, np.full(20, 0.01), np.zeros(20, int), mixed)
    assert [event.rows for event in events] == [10]


def test_where_hardly_any_calibration_row_comes_nothing_is_expected() -> None:
    monitor, events = monitored(window_rows=10)
    everybody_leaves = (-1.0, -1.0, -np.inf)
    monitor.observe(1, np.full(100, 0.5), np.zeros(100, int), [everybody_leaves] * 100)
    assert events == []
    monitor.observe(1, np.full(20, 0.5), np.zeros(20, int), [everybody_leaves, NEVER] * 10)
    assert [event.rows for event in events] == [10]


def test_saturated_scores_are_one_bin_and_a_single_class_is_one() -> None:
    crowd, one = calibration_score(np.ones((1000, 1), np.float32)), np.zeros((1000, 1), int)
    monitor = DriftMonitor("m", crowd, one, 1, window_rows=100)
    monitor.observe(0, crowd[:100, 0] - 1e-6, one[:100, 0], [(-np.inf,)] * 100)
    assert monitor.latest()[0].score == pytest.approx(0, abs=1e-9)


def test_the_index_is_symmetric_grows_with_the_shift_and_the_limit_falls_with_the_rows() -> None:
    even, skewed = np.array([50.0, 50.0]), np.array([80.0, 20.0])
    assert stability_index(even, skewed) == pytest.approx(float(stability_index(skewed, even)))
    assert stability_index(even, skewed) > stability_index(even, np.array([60.0, 40.0])) > 0
    assert stability_index(np.array([0.0, 100.0]), even) < np.inf
    assert SHIFT < alarm_limit(2000, 2500, 10) < alarm_limit(200, 2500, 10)


def test_the_limit_is_what_chance_hardly_ever_passes() -> None:
    """χ² with 9 degrees of freedom passes 44.8 once in a million times (tables of the distribution)."""
    assert CHANCE == 1e-6
    assert (1e9 * alarm_limit(1e9, np.inf, 10) - 1e9 * SHIFT) == pytest.approx(44.8, rel=0.03)


@given(st.integers(0, 10**6), st.sampled_from([(2000, 5000), (20_000, 500), (2000, 100)]))
@settings(max_examples=20, deadline=None)
def test_chance_alone_makes_the_index_of_the_law_that_the_limit_takes(
    seed: int, rows: tuple[int, int]
) -> None:
    """Of χ² with 9 degrees of freedom, the mean is 9 and the 99.9% quantile 27.9; bins hold 2% to 25%."""
    random = np.random.default_rng(seed)
    shares = 0.02 + 0.8 * random.dirichlet(np.full(10, 5.0))
    observed, expected = (random.multinomial(count, shares, 4000).astype(float) for count in rows)
    index = stability_index(observed, expected) / (1 / rows[0] + 1 / rows[1])
    assert index.mean() == pytest.approx(9, rel=0.1)
    assert (index > 27.9).mean() < 0.005
    assert np.all(index * (1 / rows[0] + 1 / rows[1]) < alarm_limit(*rows, 10))
