import numpy as np
import pytest

from serving.repository.moments import Estimate, Moments, difference, estimate


def moments(values: np.ndarray) -> Moments:
    found = Moments()
    for value in values.tolist():
        found.add(value)
    return found


def test_means_and_intervals_are_numpys() -> None:
    random = np.random.default_rng(0)
    one, two = random.normal(5, 2, 400), random.normal(6, 1, 300)
    half = 1.959964 * np.hypot(one.std(ddof=1) / 20, two.std(ddof=1) / 300**0.5)
    found = difference(moments(one), moments(two))
    apart = two.mean() - one.mean()
    assert found.mean == pytest.approx(apart)
    assert found.interval == pytest.approx((apart - half, apart + half))
    assert estimate(moments(one)).mean == pytest.approx(one.mean())


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        found = difference(moments(random.normal(0, 1, 60)), moments(random.normal(0.5, 2, 80)))
        assert found.interval is not None
        inside += found.interval[0] <= 0.5 <= found.interval[1]
    assert 0.92 <= inside / 400 <= 0.98


def test_too_few_numbers_have_no_interval() -> None:
    assert estimate(Moments()) == Estimate(None, None)
    assert estimate(moments(np.array([2.0]))) == Estimate(2.0, None)
    assert difference(Moments(), moments(np.ones(5))) == Estimate(None, None)
