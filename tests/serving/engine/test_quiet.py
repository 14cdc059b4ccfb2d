import os
import sys
import threading

import pytest

from serving.engine.quiet import quietly
from serving.engine.thread_pool import DaemonPool

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@linux
def test_a_quiet_call_gives_way_and_its_caller_does_not() -> None:
    before = niceness()
    assert quietly(niceness) > before
    assert niceness() == before


def test_what_a_quiet_call_raises_is_its_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        quietly(lambda: 1 // 0)


@linux
def test_helpers_give_way_until_they_are_woken() -> None:
    helpers, seen = DaemonPool(1, quiet=True), []
    helpers.submit(lambda: seen.append(niceness())).result(10)
    helpers.wake()
    helpers.submit(lambda: seen.append(niceness())).result(10)
    assert seen[0] > seen[1] == niceness()
