import asyncio
from collections.abc import Callable
from functools import partial

from serving.web.mailbox import LoopMailbox


class Loop:
    """Keeps what it is asked to call until told to."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], object]] = []

    def call_soon_threadsafe(self, call: Callable[[], object]) -> None:
        self.asked.append(call)

    def turn(self) -> None:
        asked, self.asked = self.asked, []
        for call in asked:
            call()


def make() -> tuple[LoopMailbox, Loop]:
    loop = Loop()
    return LoopMailbox(loop), loop  # type: ignore[arg-type]


def test_the_loop_is_woken_once_for_all_that_came_before_it_looked() -> None:
    mailbox, loop = make()
    got: list[int] = []
    for number in range(3):
        mailbox.post(partial(got.append, number))
    assert len(loop.asked) == 1
    loop.turn()
    assert got == [0, 1, 2]
    mailbox.post(lambda: got.append(3))
    loop.turn()
    assert got == [0, 1, 2, 3]


def test_what_is_posted_while_delivering_is_delivered() -> None:
    mailbox, loop = make()
    got: list[str] = []
    mailbox.post(lambda: mailbox.post(lambda: got.append("second")))
    loop.turn()
    loop.turn()
    assert got == ["second"]


def test_a_closed_loop_gets_nothing() -> None:
    loop = asyncio.new_event_loop()
    mailbox = LoopMailbox(loop)
    loop.close()
    mailbox.post(lambda: None)
