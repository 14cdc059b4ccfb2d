import numpy as np
import pytest

from serving.engine.rest import no_rest, rest, resting


def test_a_rest_is_three_times_as_long_as_the_run_and_never_long(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("serving.engine.rest.time.sleep", slept.append)
    rest(0.01)
    rest(60.0)
    no_rest(60.0)
    assert slept == [pytest.approx(0.03), 1.0]


def test_a_resting_run_is_the_same_run() -> None:
    times, rested = iter([1.0, 1.5, 2.0, 2.25]), list[float]()
    probabilities, images = np.ones((2, 3), np.float32), (np.zeros((2, 4), np.uint8),)
    run = resting(lambda stage, inputs: (probabilities, inputs), rested.append, lambda: next(times))
    assert run(0, images) == (probabilities, images)
    run(1, images)
    assert rested == [0.5, 0.25]
