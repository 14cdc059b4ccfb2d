import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.stratify import apportion, stratified


def test_largest_remainders_get_the_seats_left_over() -> None:
    seats = apportion(np.array([50, 30, 21]), 10, np.zeros(3, np.int64), np.array([50, 30, 21]))
    assert seats.tolist() == [5, 3, 2]


def test_bounds_are_kept_and_the_rest_goes_elsewhere() -> None:
    sizes = np.array([100, 1, 1])
    assert apportion(sizes, 5, np.array([1, 1, 1]), sizes).tolist() == [3, 1, 1]
    assert apportion(sizes, 102, np.zeros(3, np.int64), sizes - 1).tolist() == [99, 0, 0]


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    count=st.integers(0, 300),
    least=st.integers(0, 2),
    keep=st.integers(0, 1),
    seed=st.integers(0, 9),
)
def test_a_draw_is_exact_within_its_bounds(
    sizes: list[int], count: int, least: int, keep: int, seed: int
) -> None:
    least = 0 if keep else least
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int64)
    chosen = stratified(labels, count, np.random.default_rng(seed), least=least, keep=keep)
    taken = np.bincount(labels[chosen], minlength=len(sizes))
    lower, upper = np.minimum(least, sizes), np.maximum(np.array(sizes) - keep, 0)
    assert len(chosen) == np.clip(count, lower.sum(), upper.sum())
    assert np.all(np.diff(chosen) > 0)
    assert np.all(taken >= lower)
    assert np.all(taken <= upper)


def test_classes_get_their_share_to_the_image() -> None:
    labels = np.repeat(np.arange(4), (100, 50, 25, 25)).astype(np.int64)
    chosen = stratified(labels, 40, np.random.default_rng(1))
    assert np.bincount(labels[chosen]).tolist() == [20, 10, 5, 5]
