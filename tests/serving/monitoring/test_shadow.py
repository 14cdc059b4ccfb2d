"""The watch: which images are sampled, whose answers are checked, and what happens when there is no time."""

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import pytest

from serving.answer import Answer
from serving.errors import ClosedError, EngineError, OverloadedError
from serving.events import Event, ExitShadowed
from serving.interfaces import Tensors
from serving.monitoring.shadow import Agreement, ShadowEvaluator
from serving.scheduler.request import Constraints, Request

EXIT_FLOPS = (10, 30, 60)


def answer(exit_number: int, class_index: int) -> Answer:
    return Answer("ant", class_index, 0.5, exit_number, EXIT_FLOPS[exit_number - 1], 20.0, "m")


class Watch:
    """A watcher whose idle time is the test's to give."""

    def __init__(self, share: float, seed: int = 0) -> None:
        self.events: list[Event] = []
        self.submitted: list[np.ndarray] = []
        self.requests: list[Request[Sequence[int]]] = []
        self.failure: Exception | None = None
        self.found: list[tuple[int, bool, tuple[float, ...]]] = []
        self.watcher = ShadowEvaluator(
            "m",
            EXIT_FLOPS,
            share=share,
            seed=seed,
            submit=self.submit,
            emit=self.events.append,
            observe=lambda *found: self.found.append(found),
        )

    def submit(self, inputs: Tensors) -> Request[Sequence[int]]:
        if self.failure is not None:
            raise self.failure
        self.submitted.append(inputs[0])
        self.requests.append(Request(len(inputs[0]), Constraints(60.0, ()), barrier=False, admitted_at=0.0))
        return self.requests[-1]

    def serve(self, *answers: Answer, thresholds: tuple[float, ...] = ()) -> None:
        """A request whose images, one pixel each, are numbered."""
        future: Future[list[Answer]] = Future()
        images = np.arange(len(answers), dtype=np.uint8).reshape(-1, 1, 1, 1)
        self.watcher.follow(images, future, thresholds)
        images[:] = 255  # the caller may do so once it is answered, and the check comes later
        future.set_result(list(answers))


def test_early_answers_are_held_against_the_last_exit() -> None:
    watch = Watch(share=1.0)
    watch.serve(answer(1, 2), answer(3, 1), answer(2, 0), answer(1, 1))
    [images] = watch.submitted
    assert images.ravel().tolist() == [0, 2, 3]
    watch.requests[0].future.set_result([2, 1, 1])
    assert watch.events == [
        ExitShadowed("m", 0, agreed=True, extra_flops=60),
        ExitShadowed("m", 1, agreed=False, extra_flops=60),
        ExitShadowed("m", 0, agreed=True, extra_flops=60),
    ]
    assert watch.watcher.agreement() == {0: Agreement(2, 2), 1: Agreement(1, 0)}
    assert watch.watcher.missed == 0


def test_what_was_found_is_told_with_the_thresholds_of_its_own_request() -> None:
    watch = Watch(share=1.0)
    watch.serve(answer(1, 2), thresholds=(0.5, 0.6, -np.inf))
    watch.serve(answer(2, 2))
    watch.requests[1].future.set_result([1])
    watch.requests[0].future.set_result([2])
    assert watch.found == [(1, False, ()), (0, True, (0.5, 0.6, -np.inf))]


def test_with_a_share_of_0_nothing_is_watched() -> None:
    watch = Watch(share=0.0)
    watch.serve(*[answer(1, 0)] * 100)
    assert watch.submitted == []


def test_the_sample_is_a_share_and_the_seed_decides_which() -> None:
    watches = [Watch(0.1, seed=1), Watch(0.1, seed=1), Watch(0.1, seed=2)]
    for watch in watches:
        for _ in range(10):
            watch.serve(*[answer(1, 0)] * 200)
    one, same, other = ([images.ravel().tolist() for images in watch.submitted] for watch in watches)
    assert one == same != other
    assert 150 < sum(map(len, one)) < 250


def test_requests_that_left_at_the_end_or_got_no_answer_need_no_check() -> None:
    watch = Watch(share=1.0)
    watch.serve(answer(3, 0))
    failed: Future[list[Answer]] = Future()
    abandoned: Future[list[Answer]] = Future()
    for future in (failed, abandoned):
        watch.watcher.follow(np.zeros((1, 1, 1, 1), np.uint8), future)
    failed.set_exception(EngineError("broken"))
    abandoned.cancel()
    assert watch.submitted == []


@pytest.mark.parametrize("failure", [OverloadedError("full", 1.0), ClosedError("closed")])
def test_what_finds_no_room_is_counted(failure: Exception) -> None:
    watch = Watch(share=1.0)
    watch.failure = failure
    watch.serve(answer(1, 0), answer(1, 0))
    assert (watch.watcher.missed, watch.events) == (2, [])


def test_so_is_what_was_given_up() -> None:
    watch = Watch(share=1.0)
    watch.serve(answer(1, 0))
    watch.serve(answer(1, 0))
    watch.requests[0].future.set_exception(ClosedError("closed"))
    watch.requests[1].cancel()
    assert (watch.watcher.missed, watch.events) == (2, [])
