"""P-values against SciPy's binomial, the least number of images, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from serving.errors import TermsError
from serving.policy.risk import (
    LEAST_MAX_DROP,
    binomial_tail,
    check_probability,
    least_drop,
    least_n,
    most_errors,
    p_value,
    share_interval,
)

CASES = [(0, 100, 0.02), (1, 100, 0.02), (30, 2_500, 0.02), (400, 25_000, 0.02), (3, 3, 0.5), (49, 50, 0.99)]


@pytest.mark.parametrize(("errors", "images", "max_risk"), CASES)
def test_the_tail_is_scipy_s(errors: int, images: int, max_risk: float) -> None:
    assert binomial_tail(errors, images, max_risk) == pytest.approx(
        binom.cdf(errors, images, max_risk), rel=1e-9
    )


def test_the_tail_does_not_underflow_on_the_way() -> None:
    # The first of its terms is 0.5^5000, far below the smallest float.
    assert binomial_tail(2_500, 5_000, 0.5) == pytest.approx(binom.cdf(2_500, 5_000, 0.5), rel=1e-9)
    assert binomial_tail(0, 100_000, 0.5) == 0


@pytest.mark.parametrize(("errors", "images", "max_risk"), [*CASES, (20, 100, 0.1), (100, 100, 0.1)])
def test_p_values_are_the_exact_tail(errors: int, images: int, max_risk: float) -> None:
    expected = float(binom.cdf(errors, images, max_risk))
    assert p_value(errors, images, max_risk) == pytest.approx(expected, rel=1e-9)


def test_the_errors_that_are_allowed() -> None:
    # With Hoeffding and Bentkus it was 35 of 2,500 at 0.02.
    assert [most_errors(2_500, max_drop, 0.05) for max_drop in (0.01, 0.02, 0.05)] == [16, 38, 106]


@given(trials=st.integers(1, 5_000), share=st.floats(0, 1))
def test_an_interval_holds_its_share(trials: int, share: float) -> None:
    successes = round(share * trials)
    low, high = share_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1


@pytest.mark.parametrize("share", [0.02, 0.5, 0.892])
def test_intervals_of_95_percent_cover_about_as_often(share: float) -> None:
    counts = np.random.default_rng(0).binomial(2_500, share, 400)
    held = [low <= share <= high for low, high in (share_interval(int(n), 2_500) for n in counts)]
    assert np.mean(held) >= 0.93


@given(images=st.integers(1, 400), max_risk=st.floats(0.005, 0.9), delta=st.floats(0.001, 0.5))
def test_a_p_value_is_valid_and_rises_with_the_errors(images: int, max_risk: float, delta: float) -> None:
    values = [p_value(errors, images, max_risk) for errors in range(images + 1)]
    tails = binom.cdf(range(images + 1), images, max_risk)
    # Valid: never smaller than the chance itself. The reference is off in its sixth digit below 1e-290.
    assert all(value >= tail * (1 - 1e-9) - 1e-290 for value, tail in zip(values, tails, strict=True))
    assert all(before <= after * (1 + 1e-9) for before, after in pairwise(values))
    allowed = most_errors(images, max_risk, delta)
    assert allowed == sum(value <= delta for value in values) - 1


@pytest.mark.parametrize(
    ("max_drop", "delta", "images"),
    [(0.05, 0.05, 59), (0.02, 0.05, 149), (0.01, 0.05, 299), (0.005, 0.05, 598), (0.02, 0.01, 228)],
)
def test_the_least_number_of_images(max_drop: float, delta: float, images: int) -> None:
    assert least_n(max_drop, delta) == images
    assert most_errors(images, max_drop, delta) == 0
    assert most_errors(images - 1, max_drop, delta) == -1


@given(max_drop=st.floats(LEAST_MAX_DROP, 0.99), delta=st.floats(1e-6, 0.99))
def test_the_least_number_is_the_least(max_drop: float, delta: float) -> None:
    images = least_n(max_drop, delta)
    assert p_value(0, images, max_drop) <= delta
    assert images == 1 or p_value(0, images - 1, max_drop) > delta


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_what_is_no_probability(value: float) -> None:
    with pytest.raises(TermsError, match="expected max_drop between 0 and 1"):
        check_probability("max_drop", value)
    with pytest.raises(TermsError):
        least_n(0.02, value)


def test_no_images_prove_nothing() -> None:
    assert most_errors(0, 0.5, 0.5) == -1


def test_nobody_counts_the_images_for_next_to_nothing() -> None:
    with pytest.raises(TermsError, match=f"at least {LEAST_MAX_DROP:g}; found 1e-20"):
        least_n(1e-20)


@settings(deadline=None)
@given(images=st.integers(1, 100_000), delta=st.floats(1e-6, 0.99))
def test_the_least_drop_can_be_proven_and_hardly_less(images: int, delta: float) -> None:
    drop = least_drop(images, delta)
    assert drop == 1 or most_errors(images, drop, delta) >= 0
    assert most_errors(images, 0.98 * drop, delta) == -1
