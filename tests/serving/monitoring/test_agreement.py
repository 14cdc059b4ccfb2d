"""Agreement of early answers: an alarm where it is lower than on the calibration, and only there."""

import numpy as np
import pytest

from serving.events import AgreementMeasured, Event
from serving.monitoring.agreement import WINDOW, AgreementMonitor, lower_end

ROWS = 2000
THRESHOLDS = (0.5, -np.inf)
SHARE = 0.9


def monitored(rows: int = ROWS) -> tuple[AgreementMonitor, list[AgreementMeasured]]:
    """Half of the calibration leaves at exit 1 of 2, where 9 of 10 agree with the last exit."""
    events: list[Event] = []
    score = np.stack([np.linspace(0, 1, rows), np.ones(rows)], axis=1)
    early = np.where(np.arange(rows) % 10 == 0, 1, 0)
    answer = np.stack([early, np.zeros(rows, int)], axis=1)
    monitor = AgreementMonitor("m", score, answer, events.append)
    return monitor, events  # type: ignore[return-value] # nothing else is emitted


def watch(monitor: AgreementMonitor, images: int, share: float, seed: int = 0) -> None:
    for agreed in np.random.default_rng(seed).random(images) < share:
        monitor.observe(0, bool(agreed), THRESHOLDS)


def test_as_much_agreement_as_on_the_calibration_is_no_alarm() -> None:
    monitor, events = monitored()
    for seed in range(20):
        watch(monitor, 1000, SHARE, seed)
    assert len(events) > 19_000
    assert not any(event.alarm or event.changed for event in events)
    assert monitor.latest()[0].expected == pytest.approx(SHARE, abs=0.01)
    assert monitor.latest()[0].images == WINDOW


def test_less_of_it_raises_one_that_ends_with_it() -> None:
    monitor, events = monitored()
    watch(monitor, 300, SHARE)
    watch(monitor, 600, 0.6)
    assert monitor.latest()[0].alarm
    watch(monitor, 1000, SHARE)
    assert not monitor.latest()[0].alarm
    assert [event.alarm for event in events if event.changed] == [True, False]


def test_one_exit_is_not_blamed_for_another_and_more_agreement_is_no_alarm() -> None:
    monitor, _ = monitored()
    watch(monitor, 500, 1.0)
    assert set(monitor.latest()) == {0}
    assert not monitor.latest()[0].alarm


def test_what_proves_nothing_is_not_measured() -> None:
    monitor, events = monitored()
    for _ in range(200):
        monitor.observe(0, False, ())  # something else than thresholds made it leave
        monitor.observe(0, False, (0.99, -np.inf))  # a few calibration rows left there
    assert events == []
    watch(monitor, 49, 0.0)
    assert events == []
    watch(monitor, 1, 0.0)
    assert [event.alarm for event in events] == [True]


def test_few_calibration_rows_leave_more_to_chance() -> None:
    assert lower_end(0.9, 100) < lower_end(0.9, 10_000) < 0.9
    assert 0 <= lower_end(0.0, 50) < lower_end(1.0, 50) < 1
    strict, _ = monitored(rows=20_000)
    lenient, _ = monitored(rows=200)
    for monitor in (strict, lenient):
        watch(monitor, 500, 0.8)
    assert (strict.latest()[0].alarm, lenient.latest()[0].alarm) == (True, False)
