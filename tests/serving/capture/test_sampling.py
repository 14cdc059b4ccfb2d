"""Samples of smallest keys: right in size, the same in parts as in one, and uniform."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.capture.sampling import SmallestKeys

KEYS = st.lists(st.floats(0, 1, exclude_max=True), max_size=60, unique=True)


def kept(size: int, keys: list[float], before: tuple[float, ...] = ()) -> list[float]:
    """The keys of a sample, as whoever keeps the items has them."""
    sample, held = SmallestKeys(size, before), list(before)
    held += [key for key in keys if sample.add(key)]
    return sorted(held)[:size]


@given(st.integers(1, 20), KEYS)
def test_the_smallest_are_kept(size: int, keys: list[float]) -> None:
    assert kept(size, keys) == sorted(keys)[:size]


@given(st.integers(1, 20), KEYS, st.integers(0, 60))
def test_a_restart_changes_nothing(size: int, keys: list[float], place: int) -> None:
    before = tuple(kept(size, keys[:place]))
    assert kept(size, keys[place:], before) == kept(size, keys)


@given(st.integers(1, 20), KEYS, st.integers(0, 60))
def test_samples_of_two_processes_are_one(size: int, keys: list[float], place: int) -> None:
    both = kept(size, keys[:place]) + kept(size, keys[place:])
    assert kept(size, both) == kept(size, keys)


def test_every_item_of_a_stream_has_the_same_chance() -> None:
    random, counts = np.random.default_rng(0), np.zeros(50)
    for _ in range(4000):
        keys = random.random(50)
        counts[np.isin(keys, kept(10, keys.tolist()))] += 1
    deviation = np.sqrt(4000 * 0.2 * 0.8)
    assert np.abs(counts - 800).max() < 4.5 * deviation


def test_the_bound_says_who_enters() -> None:
    sample = SmallestKeys(2, [0.5, 0.25, 0.75])
    assert sample.bound == 0.5
    assert not sample.add(0.5)
    assert sample.add(0.125)
    assert sample.bound == 0.25
    assert SmallestKeys(1).bound == 1.0
