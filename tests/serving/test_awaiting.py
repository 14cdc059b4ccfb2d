"""Streams where others fill the queue; what `Model` does with them is in test_model.py."""

import pytest

from serving.awaiting import stream
from serving.errors import OverloadedError
from serving.scheduler.request import Constraints, Request


class Queue:
    """Holds so many requests, and answers each as its answer is asked for."""

    def __init__(self, room: int) -> None:
        self.room, self.most = room, 0
        self.inside: list[Request[list[int]]] = []

    def submit(self, number: int) -> Request[list[int]]:
        self.inside = [request for request in self.inside if not request.over]
        if len(self.inside) >= self.room:
            self.inside[0].future.set_result([self.inside[0].size])
            raise OverloadedError("full", retry_after_seconds=1.0)
        request: Request[list[int]] = Request(number, Constraints(1.0, ()), barrier=False, admitted_at=0.0)
        self.inside.append(request)
        self.most = max(self.most, len(self.inside))
        return request


def test_a_full_queue_is_waited_for_by_who_has_an_image_in_it() -> None:
    queue = Queue(room=2)
    answers = stream(range(1, 6), read=int, submit=queue.submit, ahead=64)
    assert [next(answers) for _ in range(3)] == [1, 2, 3]
    answers.close()  # type: ignore[attr-defined]
    assert queue.most == 2
    assert all(request.future.cancelled() for request in queue.inside if request.size > 3)


def test_a_queue_that_others_fill_refuses_the_stream() -> None:
    def refuse(number: int) -> Request[list[int]]:
        raise OverloadedError("full", retry_after_seconds=1.0)

    with pytest.raises(OverloadedError):
        list(stream([1], read=int, submit=refuse, ahead=64))
