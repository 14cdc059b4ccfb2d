"""Trials of subsets of exits: what one is judged by, and which is taken."""

import numpy as np
import pytest

from training.evaluation.exit_trials import ExitTrial, best_and_fewest, try_subsets
from training.models.flops import SegmentFlops

SEGMENTS = [SegmentFlops(20, 10), SegmentFlops(30, 10), SegmentFlops(50, 0)]


def answers(images: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Two classes, [N, 3, 2]: the first two exits are always wrong, the last one is always right."""
    labels = np.arange(images) % 2
    sure = np.array([[0.1, 0.9], [0.9, 0.1]], np.float32)
    return np.stack([sure[labels], sure[labels], sure[1 - labels]], axis=1), labels


def test_a_budget_that_the_first_exit_exceeds_has_no_right_answer() -> None:
    trials = try_subsets(*answers(), SEGMENTS, [(0, 2), (1, 2), (2,)], [35.0, 1000.0])
    assert list(trials) == [(0, 2), (1, 2), (2,)]
    assert {subset: trial.mean for subset, trial in trials.items()} == {(0, 2): 0.5, (1, 2): 0.5, (2,): 0.5}
    assert all(trial.richest == 1.0 for trial in trials.values())
    assert len(trials[2,].right) == 20


def test_a_subset_that_meets_no_budget_is_never_right() -> None:
    (trial,) = try_subsets(*answers(), SEGMENTS, [(1, 2)], [50.0]).values()
    assert (trial.mean, trial.richest) == (0.0, 0.0)


def test_the_smallest_within_one_standard_error_of_the_best_is_taken() -> None:
    best = np.array([1.0, 1.0, 1.0, 0.0])
    trials = {
        (2,): ExitTrial(np.array([0.0, 0.0, 0.0, 0.0]), 0.0),
        (0, 2): ExitTrial(np.array([1.0, 0.0, 0.0, 0.0]), 0.0),
        (1, 2): ExitTrial(np.array([1.0, 1.0, 0.0, 0.0]), 0.0),
        (0, 1, 2): ExitTrial(best, 0.0),
    }
    error = (best - trials[1, 2].right).std() / 2
    assert error == pytest.approx(0.2165, abs=1e-4)  # less than the 0.25 that are lost
    assert best_and_fewest(trials) == ((0, 1, 2), (0, 1, 2))
    closer = {**trials, (1, 2): ExitTrial(np.array([1.0, 1.0, 0.0, 1.0]), 0.0)}
    assert best_and_fewest(closer) == ((1, 2), (1, 2))
    lost = {**trials, (1, 2): ExitTrial(np.array([1.0, 1.0, 0.2, 0.6]), 0.0)}
    assert best_and_fewest(lost) == ((0, 1, 2), (1, 2))
