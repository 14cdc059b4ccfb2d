from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.processes.layout import Share, settings_of, shares
from serving.settings import Settings


@given(count=st.integers(1, 16), cores=st.integers(1, 64))
def test_every_core_goes_to_one_process_where_there_are_enough(count: int, cores: int) -> None:
    found = shares(count, range(cores))
    assert [share.number for share in found] == list(range(1, count + 1))
    pinned = [core for share in found for core in share.cores or ()]
    assert pinned == (list(range(cores)) if count <= cores else [])
    assert all(share.threads == share.core_count == len(share.cores) for share in found if share.cores)
    assert sum(share.core_count for share in found) == max(count, cores)


@pytest.mark.parametrize(
    ("threads", "cores"), [(1, ((0, 1), (2, 3))), (2, ((0, 1), (2, 3))), (3, (None, None))]
)
def test_threads_that_were_set_stay_and_more_than_the_cores_are_not_pinned(
    threads: int, cores: tuple[tuple[int, int] | None, ...]
) -> None:
    found = shares(2, range(4), threads=threads)
    assert [(share.threads, share.cores) for share in found] == [(threads, each) for each in cores]


def test_limits_of_the_server_are_divided_and_those_of_a_request_are_not() -> None:
    settings = Settings(
        max_queue_rows=1000,
        max_waiting_bytes=400 * 2**20,
        max_connections=10,
        decode_threads=6,
        grpc_port=0,
        state_dir=Path("state"),
        watch=True,
    )
    first, second = (settings_of(settings, 3, Share(number, 2)) for number in (1, 2))
    assert (first.max_queue_rows, first.max_connections, first.decode_threads) == (334, 4, 2)
    assert first.max_waiting_bytes == 400 * 2**20 // 3
    assert (first.threads, first.state_dir, first.watch) == (2, None, False)
    assert (first.grpc_port, second.grpc_port) == (0, None)
    assert first.max_body_bytes == settings.max_body_bytes
    for threads in (0, "auto"):
        assert settings_of(Settings(decode_threads=threads), 3, Share(1, 2)).decode_threads == threads


def test_a_request_that_one_process_takes_is_taken_by_each_of_many() -> None:
    settings = Settings(max_waiting_bytes=64 * 2**20)
    many = settings_of(settings, 64, Share(1, 1))
    assert many.max_queue_rows == settings.max_images
    assert many.max_waiting_bytes == settings.max_body_bytes
