"""The number of decoding threads follows the share of the processor's time that decoding takes."""

import pytest

from serving.events import DecodeThreadsChanged, Event
from serving.web.reading.decode_threads import LEAST_SECONDS, DecodeThreads, threads_for


class Process:
    """A process that has used its processor for a while."""

    def __init__(self) -> None:
        self.seconds, self.decoding = 100.0, 0.0
        self.events: list[Event] = []
        self.auto = DecodeThreads(16, self.events.append, lambda: self.seconds)

    def measured(self, share: float, seconds: float = LEAST_SECONDS) -> int:
        """Spend some seconds, a share of them on decoding, and measure."""
        self.seconds += seconds
        self.decoding += share * seconds
        return self.auto.measure(self.decoding)


@pytest.mark.parametrize(
    ("cores", "share", "threads"),
    [(1, 0.0, 1), (1, 1.0, 1), (2, 0.0, 1), (2, 0.01, 2), (2, 0.9, 2), (16, 0.125, 3), (64, 0.5, 33)],
)
def test_decoding_gets_its_share_of_the_cores_and_one_thread_more(
    cores: int, share: float, threads: int
) -> None:
    assert threads_for(cores, share) == threads


def test_a_number_is_there_before_anything_is_measured() -> None:
    counts = [DecodeThreads(cores, lambda _: None, lambda: 0.0).count for cores in (1, 2, 64)]
    assert counts == [1, 2, 2]


def test_the_number_follows_the_share_of_late_and_every_change_is_told() -> None:
    process = Process()
    found = [process.measured(share) for share in (0.05, 0.4, 0.4, 0.9, 0.05)]
    assert found == [2, 8, 8, 16, 2]
    assert process.events == [DecodeThreadsChanged(count) for count in (8, 16, 2)]


def test_little_time_tells_nothing_yet_and_counts_later() -> None:
    process = Process()
    assert process.measured(1.0, LEAST_SECONDS / 2) == 2
    assert process.measured(0.0, LEAST_SECONDS / 2) == threads_for(16, 0.5)


def test_a_share_near_a_whole_number_of_cores_does_not_start_and_end_a_thread() -> None:
    process = Process()
    found = [process.measured(share) for share in (4.01 / 16, 3.99 / 16, 4.01 / 16, 3.99 / 16)]
    assert found == [6, 6, 6, 6]
    assert len(process.events) == 1
