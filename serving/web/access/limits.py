"""What one API key may ask for in a second: requests and FLOPs, each a token bucket.

A bucket holds at most what a second brings, and begins full. A request takes one token of the first before
its body is read, and of the second what its images may cost once they are counted. It is let in when there is
that much, or when the bucket is full: a request that costs more than a second brings leaves a debt. What the
answers did not cost goes back; what a request that was admitted and got no answer was to cost does not.
"""

import math
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from serving.answer import Answer
from serving.errors import KeyLimitError
from serving.events import KeyLimit, KeyLimited, Listener
from serving.options import ClassifyOptions
from serving.policy.budget import UNITS, flops_of, format_flops

_NUMBER = re.compile(r"(?P<number>\d{1,18}(?:\.\d{1,9})?)\s*(?P<unit>[a-z]{0,6})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What a key may ask for in a second; None is without limit.

    Args:
        requests_per_second: over all protocols and routes.
        flops_per_second: nominal, as budgets are.
    """

    requests_per_second: float | None = None
    flops_per_second: float | None = None


UNLIMITED = Limits()


def read_limits(text: str) -> Limits:
    """Read what a line of the key file says: `requests=50,flops=2GFLOPs`, one of the two or both.

    Raises:
        ValueError: something else; the text says what was expected.

    >>> read_limits("requests=0.5, flops=150 MFLOPs")
    Limits(requests_per_second=0.5, flops_per_second=150000000.0)
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        match = _NUMBER.fullmatch(value)
        unit = match["unit"].lower() if match else ""
        units = {"": 1.0} if name == "requests" else {"": 1.0, **UNITS}
        amount = float(match["number"]) * units[unit] if match and unit in units else 0.0
        if name not in ("requests", "flops") or name in found or not amount > 0:
            raise ValueError("expected limits such as requests=50,flops=2GFLOPs, each more than 0")
        found[name] = amount
    return Limits(found.get("requests"), found.get("flops"))


def refilled(level: float, seconds: float, per_second: float, capacity: float) -> float:
    """Return what a bucket holds after some seconds.

    >>> refilled(-3.0, seconds=2.0, per_second=4.0, capacity=4.0), refilled(3.0, 2.0, 4.0, 4.0)
    (4.0, 4.0)
    """
    return min(capacity, level + max(0.0, seconds) * per_second)


def wait_seconds(level: float, wanted: float, per_second: float, capacity: float) -> float:
    """Return how long it takes until so much may be taken; 0 where it may be now.

    More than the bucket can hold may be taken when it is full.

    >>> wait_seconds(1.0, wanted=3.0, per_second=4.0, capacity=4.0)
    0.5
    >>> wait_seconds(4.0, wanted=100.0, per_second=4.0, capacity=4.0)
    0.0
    """
    return max(0.0, min(wanted, capacity) - level) / per_second


class Bucket(Protocol):
    """What may still be taken now."""

    def take(self, amount: float) -> float:
        """Take so much if it may be taken; return 0, or how many seconds to wait."""

    def give_back(self, amount: float) -> None:
        """Put back what was not used; a negative amount takes what was used on top."""


MakeBucket = Callable[[str, float, float, Callable[[], float]], Bucket]
"""Of a name, with what it gains in a second, the least that it can hold, and the clock."""


class TokenBucket:
    """What may still be taken now; used from several threads.

    Args:
        per_second: what it gains; it holds as much, or `least` if that is more, and begins full.
        least: the least that it can hold.
        clock: seconds, monotonic.
    """

    def __init__(self, per_second: float, least: float, clock: Callable[[], float]) -> None:
        self._per_second, self._capacity, self._clock = per_second, max(per_second, least), clock
        self._level, self._at, self._lock = self._capacity, clock(), Lock()

    def take(self, amount: float) -> float:
        """Take so much if it may be taken; return 0, or how many seconds to wait."""
        with self._lock:
            now = self._clock()
            self._level = refilled(self._level, now - self._at, self._per_second, self._capacity)
            self._at = now
            wait = wait_seconds(self._level, amount, self._per_second, self._capacity)
            if not wait:
                self._level -= amount
            return wait

    def give_back(self, amount: float) -> None:
        """Put back what was not used; a negative amount takes what was used on top."""
        with self._lock:
            self._level = min(self._capacity, self._level + amount)


def own_bucket(name: str, per_second: float, least: float, clock: Callable[[], float]) -> Bucket:
    """Make a bucket of this process."""
    return TokenBucket(per_second, least, clock)


class Allowance:
    """What is left of the limits of one key.

    Args:
        name: of the key.
        limits: of it.
        emit: told of every refusal.
        clock: seconds, monotonic.
        bucket: makes the buckets.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        emit: Listener,
        clock: Callable[[], float] = time.monotonic,
        bucket: MakeBucket = own_bucket,
    ) -> None:
        self.limits = limits
        self._name, self._emit = name, emit
        requests, flops = limits.requests_per_second, limits.flops_per_second
        self._requests = None if requests is None else bucket(f"{name} requests", requests, 1.0, clock)
        self._flops = None if flops is None else bucket(f"{name} flops", flops, 0.0, clock)

    def take_request(self) -> None:
        """Count a request.

        Raises:
            KeyLimitError: there have been too many.
        """
        if self._requests is not None and (wait := self._requests.take(1.0)):
            self._refuse("requests", f"{self.limits.requests_per_second:g} requests", wait)

    def take_flops(self, flops: float) -> None:
        """Count what the images of a request may cost.

        Raises:
            KeyLimitError: the last ones have cost too much.
        """
        if self._flops is not None and (wait := self._flops.take(flops)):
            self._refuse("flops", format_flops(self.limits.flops_per_second or 0.0), wait)

    def give_back_flops(self, flops: float) -> None:
        """Give back what images did not cost; negative where they cost more."""
        if self._flops is not None:
            self._flops.give_back(flops)

    def _refuse(self, limit: KeyLimit, allowed: str, wait: float) -> None:
        self._emit(KeyLimited(self._name, limit))
        seconds = math.ceil(1000 * wait) / 1000
        raise KeyLimitError(
            f"this key may ask for {allowed} a second, and has: try again in {seconds:g} s", wait
        )


class Charge:
    """What one request's images are counted at, before and after they are answered.

    Args:
        allowance: of the caller's key.
        image_flops: what an image may cost, by its budget.
        refunds: whether what answers did not cost goes back.
    """

    def __init__(self, allowance: Allowance, image_flops: float, *, refunds: bool = True) -> None:
        self._allowance, self._image_flops, self._refunds = allowance, image_flops, refunds
        self._taken = 0.0

    def take(self, images: int) -> None:
        """Count so many images.

        Raises:
            KeyLimitError: the caller's last ones have cost too much.
        """
        self._allowance.take_flops(images * self._image_flops)
        self._taken = images * self._image_flops

    def drop(self) -> None:
        """Take it all back: nothing will be computed."""
        self._allowance.give_back_flops(self._taken)

    def settle(self, answered: "Future[Sequence[Answer]]") -> None:
        """Give back what the answers did not cost, once they are there; one without answers cost it all."""
        if self._refunds and not answered.cancelled() and answered.exception() is None:
            self._allowance.give_back_flops(self._taken - sum(answer.flops for answer in answered.result()))


def charge_of(
    ask: ClassifyOptions, exit_flops: Sequence[int], exit_seconds: Sequence[float] = ()
) -> Charge | None:
    """Return what a request of the key under way is counted at; None where its FLOPs are not limited.

    Args:
        ask: its budget is what an image may cost; without one, and where every exit runs, the full depth is.
        exit_flops: [K] FLOPs per image of leaving at each exit.
        exit_seconds: [K] seconds of the same, for budgets in time; their FLOPs are what is counted.
    """
    allowance = ALLOWANCE.get()
    if allowance is None or allowance.limits.flops_per_second is None:
        return None
    by_budget = ask.budget is not None and not ask.explain
    image_flops = flops_of(str(ask.budget), exit_flops, exit_seconds) if by_budget else float(exit_flops[-1])
    return Charge(allowance, image_flops, refunds=not ask.explain)


ALLOWANCE: ContextVar[Allowance | None] = ContextVar("allowance", default=None)
"""Of the key that the request under way came with; None where it has no limits, or there are no keys."""
