"""Each model's last minutes, second by second: a listener of the core's events, beside the metrics.

Prometheus keeps the past of a fleet; this keeps five minutes of one process. Its memory does not grow with
the traffic: a second is a few counters, and the latencies of its requests are counted in classes, each 10%
wider than the one before.
"""

import math
import threading
import time
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from serving.events import Event, RequestDone, RequestFailed, StageRan

KEPT_SECONDS = 300
"""Seconds that are kept."""

_WIDTH = 1.1
_BOUNDS = tuple(1e-4 * _WIDTH**step for step in range(141))  # to a minute


@dataclass(slots=True)
class Second:
    """Counts of one model in one second."""

    exits: list[int]
    spent_flops: int = 0
    asked_flops: float = 0.0
    batches: int = 0
    batch_images: int = 0
    queue_seconds: float = 0.0
    failed: int = 0
    lowered: int = 0
    latencies: Counter[int] = field(default_factory=Counter)

    def __add__(self, other: "Second") -> "Second":
        """Return what two processes did in the same second."""
        exits = max(len(self.exits), len(other.exits))
        return Second(
            [_at(self.exits, index) + _at(other.exits, index) for index in range(exits)],
            self.spent_flops + other.spent_flops,
            self.asked_flops + other.asked_flops,
            self.batches + other.batches,
            self.batch_images + other.batch_images,
            self.queue_seconds + other.queue_seconds,
            self.failed + other.failed,
            self.lowered + other.lowered,
            self.latencies + other.latencies,
        )


@dataclass(frozen=True)
class Recent:
    """A run of whole seconds, idle ones included; every list has one value for each.

    Attributes:
        first: the number of the first second, counted from the start of the server.
        exits: images answered at each exit, one list for each exit.
        spent_flops: nominal FLOPs spent on answered images.
        asked_flops: the sum of their budgets.
        p50_seconds: half of the requests were answered within this; None where there were none.
        p99_seconds: 99% were.
        batches: runs of a stage.
        batch_images: images in these runs together.
        waiting: images that waited for a stage, on average over the second: the seconds that those of its
            batches had waited, together, over one second (Little's law).
        failed: admitted images that got no answer.
        lowered: images whose budget a brown-out lowered.
    """

    first: int
    exits: Sequence[Sequence[int]]
    spent_flops: Sequence[int]
    asked_flops: Sequence[float]
    p50_seconds: Sequence[float | None]
    p99_seconds: Sequence[float | None]
    batches: Sequence[int]
    batch_images: Sequence[int]
    waiting: Sequence[float]
    failed: Sequence[int]
    lowered: Sequence[int]


class Live:
    """Listens to the events of every model, from any thread.

    Args:
        clock: seconds, monotonic.
        kept_seconds: how far back one can look.
        started: the clock's second from which seconds are counted; now if None.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        kept_seconds: int = KEPT_SECONDS,
        started: float | None = None,
    ) -> None:
        self._clock, self._kept = clock, kept_seconds
        self.started = clock() if started is None else started
        self._lock = threading.Lock()
        self._seconds: dict[str, OrderedDict[int, Second]] = {}

    @property
    def second(self) -> int:
        """The number of the second that runs now, counted from the start."""
        return int(self._clock() - self.started)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        match event:
            case RequestDone(kind="shadow"):
                pass  # nobody waited for it
            case RequestDone(model, exits, flops, budget_flops, seconds):
                latency = bisect_left(_BOUNDS, seconds)
                with self._lock:
                    now = self._now(model)
                    _grow(now.exits, max(exits, default=-1))
                    for exit_index in exits:
                        now.exits[exit_index] += 1
                    now.spent_flops += sum(flops)
                    now.asked_flops += budget_flops * len(exits)
                    now.latencies[latency] += 1
                    now.lowered += len(exits) if event.budget_share < 1 else 0
            case StageRan(model, _, rows, _, queue_seconds):
                with self._lock:
                    now = self._now(model)
                    now.batches += 1
                    now.batch_images += rows
                    now.queue_seconds += sum(queue_seconds)
            case RequestFailed(model, _, rows):
                with self._lock:
                    self._now(model).failed += rows

    def since(self, model: str, second: int, exits: int) -> Recent:
        """Return what a model did in whole seconds.

        Args:
            model: its name.
            second: the first one asked for; older ones than are kept are left out.
            exits: how many exits it has.
        """
        end = self.second
        first = min(max(second, end - self._kept, 0), end)
        idle, known = Second([]), self.seconds_of(model)
        found = [known.get(number, idle) for number in range(first, end)]
        return Recent(
            first=first,
            exits=[[_at(each.exits, index) for each in found] for index in range(exits)],
            spent_flops=[each.spent_flops for each in found],
            asked_flops=[each.asked_flops for each in found],
            p50_seconds=[_quantile(each.latencies, 0.5) for each in found],
            p99_seconds=[_quantile(each.latencies, 0.99) for each in found],
            batches=[each.batches for each in found],
            batch_images=[each.batch_images for each in found],
            waiting=[round(each.queue_seconds, 3) for each in found],
            failed=[each.failed for each in found],
            lowered=[each.lowered for each in found],
        )

    def seconds_of(self, model: str) -> Mapping[int, Second]:
        """Return the seconds in which a model did anything and that are over, by their number."""
        now = self.second
        with self._lock:
            return {number: each for number, each in self._seconds.get(model, {}).items() if number < now}

    def _now(self, model: str) -> Second:
        number = self.second
        seconds = self._seconds.get(model)
        if seconds is None:
            seconds = self._seconds[model] = OrderedDict()
        found = seconds.get(number)
        if found is None:
            found = seconds[number] = Second([])
            while next(iter(seconds)) < number - self._kept:
                seconds.popitem(last=False)
        return found


def _grow(counts: list[int], index: int) -> None:
    counts.extend([0] * (index + 1 - len(counts)))


def _at(counts: Sequence[int], index: int) -> int:
    return counts[index] if index < len(counts) else 0


def _quantile(latencies: Counter[int], share: float) -> float | None:
    """The middle of the class in which the quantile lies: right to 5%; None where there are no latencies."""
    total = sum(latencies.values())
    if not total:
        return None
    wanted, below = math.ceil(share * total), 0
    for place in sorted(latencies):
        below += latencies[place]
        if below >= wanted:
            break
    return float(f"{_BOUNDS[min(place, len(_BOUNDS) - 1)] / math.sqrt(_WIDTH):.3g}")
