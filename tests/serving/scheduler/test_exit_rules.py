"""The budget decider: thresholds row by row, and neighbours without a say."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.policy.confidence import Scorer, score
from serving.scheduler.exit_rules import ThresholdRule
from serving.scheduler.request import Constraints, Request, Row


def row(*thresholds: float) -> Row:
    request: Request[None] = Request(1, Constraints(1.0, thresholds), barrier=False, admitted_at=0.0)
    return Row(request, 0)


def test_every_row_is_held_against_its_own_threshold_at_the_stage() -> None:
    decide = ThresholdRule(Scorer("max_probability", (1.0, 1.0)))
    rows = [row(0.5, 0.9), row(0.8, 0.1), row(0.5, 0.9)]
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.5, 0.5]], np.float32)
    assert decide(0, rows, probabilities).tolist() == [True, False, True]
    assert decide(1, rows, probabilities).tolist() == [False, True, False]


def test_the_measure_is_the_one_that_was_asked_for() -> None:
    probabilities = np.array([[0.6, 0.4]], np.float32)  # the margin is 0.2
    assert not ThresholdRule(Scorer("margin", (1.0, 1.0)))(0, [row(0.5)], probabilities).any()
    assert ThresholdRule(Scorer("margin", (1.0, 1.0)))(0, [row(0.15)], probabilities).all()


def test_saturated_confidences_can_still_be_cut() -> None:
    probabilities = np.array([[1, 1e-12], [1, 2e-12]], np.float32)
    low, high = np.sort(score(probabilities, "max_probability"))
    between = row((low + high) / 2)
    assert (
        ThresholdRule(Scorer("max_probability", (1.0, 1.0)))(0, [between, between], probabilities).sum() == 1
    )


@given(seed=st.integers(0, 10**6), count=st.integers(2, 12))
def test_neighbours_have_no_say(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(3, 0.3), count).astype(np.float32)
    rows = [row(float(threshold)) for threshold in random.random(count)]
    decide = ThresholdRule(Scorer("max_probability", (1.0, 1.0)))
    together = decide(0, rows, probabilities)
    order = random.permutation(count)
    shuffled = decide(0, [rows[index] for index in order], probabilities[order])
    alone = [decide(0, [rows[index]], probabilities[index : index + 1])[0] for index in range(count)]
    assert together[order].tolist() == shuffled.tolist()
    assert together.tolist() == alone
