"""`--decode-threads auto`: how many threads decode, by what decoding takes of the processor's time.

Each image has a cost in decoding and another in all else. Where the cores are the limit, decoding fills its
share of them, and needs as many threads, whatever the images a second and however many threads there are so
far. Fewer threads leave cores idle; each thread too many is woken and waits for the interpreter
(docs/lab-notes.md has the measurement).
"""

import math
import time
from collections.abc import Callable

from serving.events import DecodeThreadsChanged, Listener

LEAST_SECONDS = 5.0
"""Seconds of processor time, of the whole process, that one measurement is made of."""


class DecodeThreads:
    """Says how many threads should decode, from measurement to measurement.

    Args:
        cores: that the process may use, 1 or more.
        emit: told of every change.
        processor: seconds of processor time of the process so far.

    Attributes:
        count: the number at present; before anything is measured 2, or 1 on one core.
    """

    def __init__(
        self, cores: int, emit: Listener, processor: Callable[[], float] = time.process_time
    ) -> None:
        self.count = min(cores, 2)
        self._cores, self._emit, self._processor = cores, emit, processor
        self._measured_at = processor()
        self._decoding_before = 0.0

    def measure(self, decoding_seconds: float) -> int:
        """Return the number of threads, by what was decoded since the last measurement.

        A thread too many stays: a share near a whole number of cores would start and end one all the time.

        Args:
            decoding_seconds: processor time of all decoding so far.
        """
        now = self._processor()
        everything = now - self._measured_at
        if everything < LEAST_SECONDS:
            return self.count
        wanted = threads_for(self._cores, (decoding_seconds - self._decoding_before) / everything)
        self._measured_at, self._decoding_before = now, decoding_seconds
        if not self.count - 1 <= wanted <= self.count:
            self.count = wanted
            self._emit(DecodeThreadsChanged(wanted))
        return self.count


def threads_for(cores: int, share: float) -> int:
    """Return how many threads decode as fast as the cores that are left over compute.

    One more than decoding fills cores: a thread may wait for the interpreter, or lose its core.

    Args:
        cores: that the process may use, 1 or more.
        share: of the process's time that decoding takes, in [0, 1].

    >>> threads_for(16, 0.05), threads_for(16, 0.4), threads_for(16, 0.99), threads_for(2, 0.05)
    (2, 8, 16, 2)
    """
    return min(cores, 1 + math.ceil(cores * share))
