"""When a failed request is tried again: full jitter on exponential backoff, or as long as the server asks.

Full jitter: M. Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015. Where the server says
`Retry-After`, that is waited for, and the jitter comes on top, so that callers who were refused together do
not come back together.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from serving.client.errors import NoAnswerError, ResponseError

RETRIED_STATUSES = frozenset({429, 503})
"""The queue or a key is over its limit; the model, or the server, is going or coming."""


@dataclass(frozen=True)
class Backoff:
    """The pauses before retries.

    Attributes:
        retries: how many requests may follow the first.
        base_seconds: the longest pause before the first retry; it doubles with each.
        most_seconds: the longest pause of all.
        uniform: draws a number between two.
    """

    retries: int = 3
    base_seconds: float = 0.1
    most_seconds: float = 5.0
    uniform: Callable[[float, float], float] = random.uniform

    def __post_init__(self) -> None:
        if not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"expected 0 retries or more, found {self.retries!r}")

    def pause_seconds(self, failures: int, retry_after_seconds: float | None) -> float | None:
        """Return how long to wait; None where no retry is left.

        Args:
            failures: so far, 1 or more.
            retry_after_seconds: what the server asks for.
        """
        if failures > self.retries:
            return None
        longest = min(self.most_seconds, self.base_seconds * 2 ** min(failures - 1, 32))
        return (retry_after_seconds or 0.0) + self.uniform(0, longest)


class Attempts:
    """The tries of one call, and the time that is left for them.

    Args:
        backoff: the pauses.
        timeout_seconds: of the whole call, pauses included.
        clock: seconds that never go back.
    """

    def __init__(self, backoff: Backoff, timeout_seconds: float, clock: Callable[[], float]) -> None:
        self._backoff, self._clock, self._timeout_seconds = backoff, clock, timeout_seconds
        self._end = clock() + timeout_seconds
        self._failures = 0

    def left_seconds(self) -> float:
        """Return the seconds that are left.

        Raises:
            NoAnswerError: there are none.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise NoAnswerError(f"no answer within {self._timeout_seconds:g} s")
        return left

    def pause_seconds(self, error: NoAnswerError | ResponseError) -> float | None:
        """Return how long to wait before the next try; None where the error stands.

        Classification changes nothing, and a label that is sent twice counts once: a request whose answer
        was lost may be sent again.
        """
        self._failures += 1
        asked = None
        if isinstance(error, ResponseError):
            if error.status not in RETRIED_STATUSES:
                return None
            asked = error.retry_after_seconds
        pause = self._backoff.pause_seconds(self._failures, asked)
        if pause is None or self._clock() + pause >= self._end:
            return None
        return pause


def retry_after_seconds(value: str | None, now: datetime | None = None) -> float | None:
    """Read the header `Retry-After`: seconds or a date (RFC 9110, 10.2.3); None where it is neither.

    >>> retry_after_seconds("2")
    2.0
    >>> retry_after_seconds("soon")
    """
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
