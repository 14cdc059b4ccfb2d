"""The life of what a service holds."""

import gc
import threading

from tests.serving.web.fakes import fake_service


def test_the_threads_that_decode_end_with_their_service() -> None:
    before = set(threading.enumerate())
    service, _ = fake_service()
    decoding = set(threading.enumerate()) - before
    assert len(decoding) == service.pool.threads > 0
    del service
    gc.collect()
    for thread in decoding:
        thread.join(10)
        assert not thread.is_alive()
