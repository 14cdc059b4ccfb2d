"""DaemonPool: calls are made, errors come back, and nobody is waited for at the end."""

import gc
import subprocess
import sys
import threading

import pytest

from serving.engine.thread_pool import DaemonPool


def test_calls_run_side_by_side_in_other_threads() -> None:
    both = threading.Barrier(2, timeout=10)
    helpers = DaemonPool(2)
    seen: list[str] = []

    def meet() -> None:
        both.wait()
        seen.append(threading.current_thread().name)

    for future in [helpers.submit(meet) for _ in range(2)]:
        future.result(10)
    assert sorted(seen) == ["offramp-helper-1", "offramp-helper-2"]


def test_an_error_is_the_future_s_and_the_thread_goes_on() -> None:
    helpers = DaemonPool(1)

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        helpers.submit(fail).result(10)
    assert helpers.submit(lambda: None).result(10) is None


def test_threads_end_with_whom_they_help() -> None:
    helpers = DaemonPool(2)
    started: list[threading.Thread] = []
    helpers.submit(lambda: started.append(threading.current_thread())).result(10)
    del helpers
    gc.collect()
    started[0].join(10)
    assert not started[0].is_alive()


def test_a_call_that_hangs_keeps_no_process_from_ending() -> None:
    imports = "import threading; from serving.engine.thread_pool import DaemonPool"
    hanging = f"{imports}; DaemonPool(1).submit(threading.Event().wait); print('over')"
    done = subprocess.run([sys.executable, "-c", hanging], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr
