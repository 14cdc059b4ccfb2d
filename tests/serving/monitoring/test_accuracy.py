"""Accuracy from labels: false alarms, falls, recovery, certificates; against formulas and golden values."""

import json

import numpy as np
import pytest

from benchmarks.promises.label_streams import alarms
from serving.monitoring.accuracy import FIRST_SIZE, STAKES, AccuracyAlarm, Certification, risk_bound
from serving.policy.risk import binomial_tail

DELTA = 0.001


def stream(right: np.ndarray, expected: float, alarm: AccuracyAlarm | None = None) -> int | None:
    """After how many labels the alarm changes; None if it never does."""
    alarm = alarm or AccuracyAlarm(DELTA)
    for number, each in enumerate(right.tolist(), start=1):
        if alarm.add(bool(each), expected):
            return number
    return None


def test_the_alarm_is_the_sum_of_bets_that_start_at_every_label() -> None:
    right = np.random.default_rng(0).random(300) < 0.8
    alarm = AccuracyAlarm(1e-9)
    for each in right.tolist():
        alarm.add(bool(each), 0.8)
    total = 0.0
    for stake in STAKES:
        factors = np.where(right, 1 - stake, 1 + stake * 0.8 / 0.2)
        for start in range(len(right)):
            laid = 1 / ((start + 1) * (start + 2))
            total += laid * np.prod(factors[start:]) / len(STAKES)
    assert alarm.evidence == pytest.approx(total)


def test_no_bet_gains_on_average_while_the_hypothesis_holds() -> None:
    for expected in (0.5, 0.9, 0.99):
        for stake in STAKES:
            mean = expected * (1 - stake) + (1 - expected) * (1 + stake * expected / (1 - expected))
            assert mean == pytest.approx(1)


def test_the_simulation_of_the_benchmark_is_this_alarm() -> None:
    right = np.random.default_rng(1).random((3, 2_000)) < np.array([[0.9], [0.85], [0.8]])
    found = alarms(right, expected=0.9, delta=DELTA)
    assert [None if place < 0 else place + 1 for place in found.tolist()] == [
        stream(row, 0.9) for row in right
    ]
    assert found[2] >= 0


def test_a_stream_at_the_promised_accuracy_raises_none_and_one_that_falls_does() -> None:
    random = np.random.default_rng(2)
    alarm = AccuracyAlarm(DELTA)
    assert stream(random.random(5_000) < 0.9, 0.9, alarm) is None
    found = stream(random.random(5_000) < 0.8, 0.9, alarm)
    assert found is not None
    assert found < 1_500


def test_the_alarm_ends_when_the_last_labels_are_right_again_and_the_test_begins_anew() -> None:
    random = np.random.default_rng(3)
    alarm = AccuracyAlarm(DELTA)
    assert stream(random.random(5_000) < 0.6, 0.9, alarm) is not None
    assert stream(random.random(2_000) < 0.6, 0.9, alarm) is None
    assert stream(random.random(2_000) < 0.95, 0.9, alarm) is not None
    assert not alarm.raised
    assert (alarm.labels, alarm.evidence) == (0, 0.0)


@pytest.mark.parametrize("expected", [0.0, 1.0])
def test_no_promise_however_extreme_lets_one_label_decide(expected: float) -> None:
    alarm = AccuracyAlarm(DELTA)
    assert not alarm.add(right=False, expected=expected)
    assert np.isfinite(alarm.evidence)


def test_all_survives_json_and_goes_on_as_if_nothing_had_been() -> None:
    right = np.random.default_rng(4).random(400) < 0.85
    whole, first = AccuracyAlarm(DELTA), AccuracyAlarm(DELTA)
    for each in right[:200].tolist():
        first.add(each, 0.9)
    second = AccuracyAlarm(DELTA)
    second.restore(json.loads(json.dumps(first.state())))
    for each in right[200:].tolist():
        second.add(each, 0.9)
    for each in right.tolist():
        whole.add(each, 0.9)
    assert second.state() == whole.state()
    with pytest.raises(ValueError, match="expected 5 capitals"):
        second.restore(whole.state() | {"capital": [1]})


def test_certificates_come_at_preset_sizes_and_share_their_chance() -> None:
    certification, made = Certification(0.05), {}
    for number in range(1, 1_001):
        certification.add(lost=number % 50 == 0)
        if certification.latest is not None:
            made[certification.latest.images] = certification.latest
    assert list(made) == [FIRST_SIZE, 2 * FIRST_SIZE, 4 * FIRST_SIZE]
    for place, (images, certificate) in enumerate(made.items(), start=1):
        assert certificate.lost == images // 50
        assert certificate.bound == pytest.approx(risk_bound(images // 50, images, 0.05 / 2**place))
        assert certificate.bound > certificate.lost / images
    assert made[800].bound < made[200].bound


def test_the_bound_is_where_so_few_errors_are_as_unlikely_as_delta() -> None:
    bound = risk_bound(3, 400, 0.01)
    assert binomial_tail(3, 400, bound) == pytest.approx(0.01)


def test_a_correction_changes_the_count_and_a_new_series_forgets_it() -> None:
    certification = Certification(0.05)
    for _ in range(FIRST_SIZE):
        certification.add(lost=False)
    certification.correct(lost_before=False, lost_now=True)
    assert certification.lost == 1
    copy = Certification(0.05)
    copy.restore(json.loads(json.dumps(certification.state())))
    assert copy.state() == certification.state()
    assert copy.latest == certification.latest
    certification.restart()
    certification.correct(lost_before=True, lost_now=False)
    assert (certification.images, certification.lost, certification.latest) == (0, 0, None)
    with pytest.raises(ValueError, match="counts of images"):
        copy.restore(copy.state() | {"lost": -1})
