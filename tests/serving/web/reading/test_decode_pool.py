import asyncio
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from serving.errors import OverloadedError
from serving.web.reading.decode_pool import REVIEW_SECONDS, DecodePool
from tests.serving.web.fakes import once


def test_results_and_errors_come_back() -> None:
    pool = DecodePool(2, max_waiting=8)

    async def scenario() -> None:
        assert await asyncio.gather(*(pool.run(partial(abs, number)) for number in range(5))) == [
            0,
            1,
            2,
            3,
            4,
        ]
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)

    asyncio.run(scenario())


def test_nobody_need_wait_for_a_result() -> None:
    pool, release = DecodePool(1, max_waiting=8), threading.Event()

    async def scenario() -> None:
        waiting = asyncio.create_task(pool.run(release.wait))
        await asyncio.sleep(0)
        waiting.cancel()
        release.set()
        assert await pool.run(lambda: "goes on") == "goes on"

    asyncio.run(scenario())


def test_one_thread_takes_all_that_waits() -> None:
    pool, release, done = DecodePool(1, max_waiting=8), threading.Event(), threading.Event()
    threads: list[int] = []
    pool.start(once(release.wait))
    for _ in range(3):
        pool.start(once(lambda: threads.append(threading.get_ident())))
    pool.start(once(done.set))
    release.set()
    assert done.wait(10)
    assert len(threads) == 3
    assert len(set(threads)) == 1


def test_work_that_raises_costs_neither_room_nor_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    pool, done = DecodePool(1, max_waiting=2), threading.Event()

    def broken() -> bool:
        raise RuntimeError("no loop")

    with caplog.at_level(logging.ERROR):
        pool.start(broken)
        pool.start(once(done.set))
        assert done.wait(10)
    assert "no loop" in caplog.text


def test_what_may_wait_is_limited_and_makes_room_when_done() -> None:
    pool, release, done = DecodePool(1, max_waiting=2), threading.Event(), threading.Event()
    pool.start(once(release.wait))
    pool.start(once(done.set))
    with pytest.raises(OverloadedError, match="2 requests wait"):
        pool.start(once(release.wait))
    release.set()
    assert done.wait(10)

    async def room() -> str:
        return await pool.run(lambda: "room")

    for _ in range(100):  # the thread may be between the last call and saying that it is done
        try:
            assert asyncio.run(room()) == "room"
        except OverloadedError:
            continue
        return
    pytest.fail("no room was made")


def test_steps_of_a_long_piece_of_work_take_turns_with_others() -> None:
    pool, release, done = DecodePool(1, max_waiting=8), threading.Event(), threading.Event()
    seen: list[str] = []

    def long() -> bool:
        seen.append("long")
        return len(seen) < 4

    pool.start(once(release.wait))
    pool.start(long)
    pool.start(once(lambda: seen.append("short")))
    pool.start(once(lambda: seen.append("other")))
    release.set()
    wait_until_idle(pool)
    pool.start(once(done.set))
    assert done.wait(10)
    assert seen == ["long", "short", "other", "long"]


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, MemoryError])
def test_nothing_that_work_raises_ends_a_thread_or_keeps_room(raised: type[BaseException]) -> None:
    pool, done = DecodePool(1, max_waiting=1), threading.Event()

    def broken() -> bool:
        raise raised

    for _ in range(3):
        pool.start(broken)
        wait_until_idle(pool)
    pool.start(once(done.set))
    assert done.wait(10)

    async def told() -> None:
        wait_until_idle(pool)
        with pytest.raises((RuntimeError, MemoryError)):
            await pool.run(broken)

    asyncio.run(told())


def test_work_that_hangs_is_seen_and_idle_time_is_not() -> None:
    now = [0.0]
    pool, release = DecodePool(1, max_waiting=8, clock=lambda: now[0]), threading.Event()
    now[0] = 100.0
    assert pool.stalled_seconds == 0
    pool.start(once(release.wait))
    now[0] = 107.0
    assert pool.stalled_seconds == 7
    release.set()
    wait_until_idle(pool)
    assert pool.stalled_seconds == 0


def test_the_number_of_threads_follows_what_was_measured() -> None:
    now, wanted, spent = [0.0], [3], []

    def sizing(seconds: float) -> int:
        spent.append(seconds)
        return wanted[0]

    pool = DecodePool(1, max_waiting=8, clock=lambda: now[0], sizing=sizing)
    finish(pool, 1)
    assert (pool.threads, spent) == (1, [])  # nothing is due yet
    for threads in (3, 1, 2):
        wanted[0] = threads
        now[0] += REVIEW_SECONDS
        finish(pool, 1)
        wait_until(lambda: pool.threads == wanted[0])
    assert len(spent) == 3
    assert at_once(pool, 2) == 2


def test_work_that_waits_while_threads_end_is_done_by_those_that_stay() -> None:
    now, threads = [0.0], [4]
    pool = DecodePool(4, max_waiting=64, clock=lambda: now[0], sizing=lambda _: threads[0])
    done: list[int] = []
    release = threading.Event()
    for _ in range(4):
        pool.start(once(release.wait))
    threads[0], now[0] = 1, REVIEW_SECONDS
    for number in range(50):
        pool.start(once(partial(done.append, number)))
    release.set()
    wait_until_idle(pool)
    wait_until(lambda: pool.threads == 1)
    assert sorted(done) == list(range(50))


def test_threads_of_a_closed_pool_end_after_the_work_that_waits() -> None:
    pool, release = DecodePool(2, max_waiting=8), threading.Event()
    done: list[int] = []
    for _ in range(2):
        pool.start(once(release.wait))
    pool.start(once(partial(done.append, 1)))
    pool.close()
    assert pool.threads == 2
    release.set()
    wait_until(lambda: pool.threads == 0)
    assert done == [1]


def test_a_sizing_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]

    def broken(seconds: float) -> int:
        raise RuntimeError("can't start new thread")

    pool = DecodePool(2, max_waiting=8, clock=lambda: now[0], sizing=broken)
    now[0] = REVIEW_SECONDS
    finish(pool, 1)
    wait_until(lambda: "stays as it is" in caplog.text)
    finish(pool, 1)
    assert pool.threads == 2


def test_processor_time_of_all_steps_is_added_up() -> None:
    now, ticks = [0.0], iter(range(0, 100, 5))
    spent: list[float] = []

    def sizing(seconds: float) -> int:
        spent.append(seconds)
        return 1

    pool = DecodePool(
        1,
        max_waiting=8,
        clock=lambda: now[0],
        sizing=sizing,
        processor=lambda: float(next(ticks)),
    )
    finish(pool, 2)
    now[0] = REVIEW_SECONDS
    finish(pool, 1)
    wait_until(lambda: bool(spent))
    assert spent == [15.0]


def finish(pool: DecodePool, pieces: int) -> None:
    """Have the pool do some pieces of work, one after the other."""
    for _ in range(pieces):
        pool.start(once(lambda: None))
        wait_until_idle(pool)


def at_once(pool: DecodePool, pieces: int) -> int:
    """Return how many pieces of work run at the same time."""
    barrier, threads = threading.Barrier(pieces), set[int]()

    def meet() -> None:
        barrier.wait(10)
        threads.add(threading.get_ident())

    for _ in range(pieces):
        pool.start(once(meet))
    wait_until_idle(pool)
    return len(threads)


def wait_until(there: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not there():
        assert time.monotonic() < until
        time.sleep(0.001)


def wait_until_idle(pool: DecodePool) -> None:
    until = time.monotonic() + 10
    while pool.waiting:
        assert time.monotonic() < until
