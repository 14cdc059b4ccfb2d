"""Compiling is tried where a run is long, and chosen where it ends the run earlier."""

import pytest

from training.fitting.compile_choice import (
    LEAST_SECONDS,
    MOST_SHARE,
    StepTimes,
    TrialError,
    Work,
    choose,
    work_of,
)
from training.methods.interface import Phase

LONG = Work(steps=36_000, compilations=1)


def never(most_seconds: float) -> StepTimes:
    raise AssertionError("tried")


@pytest.mark.parametrize(
    ("steps", "most_seconds"),
    [(0.99 * LEAST_SECONDS / MOST_SHARE, None), (1e6, 0.99 * LEAST_SECONDS / MOST_SHARE)],
)
def test_a_short_run_is_not_tried(steps: float, most_seconds: float | None) -> None:
    choice = choose(Work(steps, 1), 1.0, most_seconds, never)
    assert not choice.compiled
    assert "too short to try it" in choice.reason


def test_a_trial_may_take_a_small_share_of_the_run() -> None:
    asked = []

    def trial(most_seconds: float) -> StepTimes:
        asked.append(most_seconds)
        return StepTimes(1.0, 1.0, 0.0)

    choose(LONG, 1.0, None, trial)
    choose(LONG, 1.0, 3600.0, trial)
    assert asked == pytest.approx([MOST_SHARE * 36_000, MOST_SHARE * 3600])


@pytest.mark.parametrize(
    ("times", "compilations", "compiled"),
    [
        (StepTimes(1.0, 0.5, 100.0), 1, True),
        (StepTimes(1.0, 0.95, 0.0), 1, False),  # a gain within the noise
        (StepTimes(1.0, 0.5, 1799.0), 8, True),  # 32,400 s, nine tenths, less a moment
        (StepTimes(1.0, 0.5, 1801.0), 8, False),
        (StepTimes(1.0, 1.2, 1.0), 1, False),
    ],
)
def test_a_run_is_compiled_where_it_ends_a_tenth_earlier(
    times: StepTimes, compilations: int, compiled: bool
) -> None:
    choice = choose(Work(36_000, compilations), 1.0, None, lambda _: times)
    assert (choice.compiled, choice.trial) == (compiled, times)


def test_a_trial_that_comes_to_nothing_is_a_no_that_says_why() -> None:
    def trial(most_seconds: float) -> StepTimes:
        raise TrialError("compiling was not over after 1800 s")

    choice = choose(LONG, 1.0, None, trial)
    assert choice.facts() == {
        "compiled": False,
        "reason": "compiling was not over after 1800 s",
        "run_seconds": 36_000.0,
        "trial": None,
    }


def test_passes_count_by_their_depth_and_sets_of_exits_are_compiled_apart() -> None:
    phases = (Phase("exit 1", exits=(0,)), Phase("exit 2", exits=(1,)), Phase("fusion"), Phase("batchnorm"))
    work = work_of(phases, (10, 10, 4, 2), 3, (25, 100), None, 32)
    assert work == Work(3 * (2.5 + 10 + 4 + 2), 3)


def test_every_image_size_is_compiled() -> None:
    assert work_of((Phase("train"),), (10,), 3, (25, 100), 24, 32) == Work(30, 3)  # 24, 28, 32
