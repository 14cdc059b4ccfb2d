import asyncio
import logging
import threading
from functools import partial

import pytest

from serving.errors import OverloadedError
from serving.web.decode_pool import DecodePool


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
    pool.start(release.wait)
    for _ in range(3):
        pool.start(lambda: threads.append(threading.get_ident()))
    pool.start(done.set)
    release.set()
    assert done.wait(10)
    assert len(threads) == 3
    assert len(set(threads)) == 1


def test_work_that_raises_costs_neither_room_nor_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    pool, done = DecodePool(1, max_waiting=2), threading.Event()

    def broken() -> None:
        raise RuntimeError("no loop")

    with caplog.at_level(logging.ERROR):
        pool.start(broken)
        pool.start(done.set)
        assert done.wait(10)
    assert "no loop" in caplog.text


def test_what_may_wait_is_limited_and_makes_room_when_done() -> None:
    pool, release, done = DecodePool(1, max_waiting=2), threading.Event(), threading.Event()
    pool.start(release.wait)
    pool.start(done.set)
    with pytest.raises(OverloadedError, match="2 requests wait"):
        pool.start(release.wait)
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
