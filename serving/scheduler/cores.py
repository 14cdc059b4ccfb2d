"""The cores of a process, on which its models take turns (docs/decisions/0019-models-take-turns.md).

Workers that run whatever waits would all wake for a row each, cut each other short, and run small batches on
more threads than there are cores. So a worker waits for its turn, and chooses its batch only then.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from serving.scheduler.fair_turns import FairTurns, Place
from serving.system.resources import resources

TURN_SECONDS = 0.02
"""No model is held up for longer by another's large network, or by one that hangs."""


class Turn(Protocol):
    """The right of one scheduler to compute, for its thread."""

    def take(self) -> float:
        """Wait for a turn, if the one that was taken is over; returns how many seconds that took."""

    def give_back(self) -> None:
        """Let others compute; does nothing without a turn."""


class Cores:
    """Cores that models share: each in turn, by what they have used (`serving.scheduler.fair_turns`).

    Safe from any thread. `share` is for who makes a worker; all else is for the shares.

    Args:
        count: how many there are; as many as this process may use if 0.
        turn_seconds: after so long a turn goes on beside the next.
        clock: seconds from any origin, never going back.
    """

    def __init__(
        self,
        count: int = 0,
        *,
        turn_seconds: float = TURN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count or resources().cores
        self._turn_seconds, self._clock = turn_seconds, clock
        self._lock = threading.Lock()
        self._turns = FairTurns(self._count, turn_seconds)
        self._shares: dict[Place, CoreShare] = {}

    def share(self, threads: int) -> "CoreShare":
        """Let one more model take part, whose turns take as many of the cores as it has threads."""
        place = Place(min(max(1, threads), self._count))
        share = CoreShare(self, place, threading.Condition(self._lock))
        with self._lock:
            self._shares[place] = share
        return share

    @property
    def unshared(self) -> bool:
        """Whether there is one model at most, which need not ask."""
        return len(self._shares) < 2

    def take(self, share: "CoreShare", *, works: bool) -> float:
        """Wait for a share's turn (see `CoreShare`)."""
        place = share.place
        with self._lock:
            share.works = works
            asked = self._clock()
            if place.computes:
                if asked - place.since < self._turn_seconds:
                    return 0.0
                self._turns.give_back(place, asked)
            if place not in self._shares:
                return 0.0
            self._turns.ask(place, asked)
            self._begin_turns(asked)
            if place.computes:
                return 0.0
            while not place.computes and place in self._shares:
                # A turn that ends begins the next; nothing tells of one that goes on for too long.
                if not share.granted.wait(self._turn_seconds):
                    self._begin_turns(self._clock())
            return self._clock() - asked

    def give_back(self, share: "CoreShare") -> None:
        """End a share's turn."""
        with self._lock:
            self._end_turn(share.place)

    def rest(self, share: "CoreShare") -> None:
        """Note that a model does not work; wake those that wait for a moment in which none does."""
        with self._lock:
            share.works = False
            woken = [] if any(other.works for other in self._shares.values()) else self._take_sleepers()
        for other in woken:  # without the lock: they take locks of their own
            other.wake()

    def others_rest(self, share: "CoreShare") -> bool:
        """Whether no other model works; if one does, this one will be woken when none does."""
        with self._lock:
            found = not any(other.works for other in self._shares.values() if other is not share)
            share.sleeps = not found
            return found

    def leave(self, share: "CoreShare") -> None:
        """Let a model take part no more."""
        with self._lock:
            self._end_turn(share.place)
            self._shares.pop(share.place, None)
            share.granted.notify()
        self.rest(share)

    def _end_turn(self, place: Place) -> None:
        now = self._clock()
        self._turns.give_back(place, now)
        self._begin_turns(now)

    def _begin_turns(self, now: float) -> None:
        for place in self._turns.grant(now):
            self._shares[place].granted.notify()

    def _take_sleepers(self) -> "list[CoreShare]":
        found = [share for share in self._shares.values() if share.sleeps]
        for share in found:
            share.sleeps = False
        return found


class CoreShare:
    """One model's share of the cores, made by `Cores.share`: the `Turn` of its worker's thread.

    Attributes:
        place: in the order of turns.
        granted: notified when a turn begins.
        works: whether its model has requests to answer, from when it asks for a turn until it rests.
        sleeps: whether it is to be woken when no model works.
        wake: does that; called from any thread.
    """

    def __init__(self, cores: Cores, place: Place, granted: threading.Condition) -> None:
        self._cores = cores
        self.place, self.granted = place, granted
        self.works = self.sleeps = False
        self.wake: Callable[[], None] = _wake_nobody

    def take(self) -> float:
        """Wait for a turn, if the one that was taken is over; returns how many seconds that took."""
        if self._cores.unshared:
            self.give_back()
            return 0.0
        return self._cores.take(self, works=True)

    def take_spare(self) -> bool:
        """Take a turn for work that nobody waits for; False while another model works."""
        if self._cores.unshared:
            return True
        if not self.is_spare:
            return False
        self._cores.take(self, works=False)
        return True

    @property
    def is_spare(self) -> bool:
        """Whether no other model works; if one does, `wake` is called when none does any more."""
        return self._cores.unshared or self._cores.others_rest(self)

    def give_back(self) -> None:
        """Let others compute; does nothing without a turn."""
        if self.place.computes:
            self._cores.give_back(self)

    def rest(self) -> None:
        """Say that no request can be worked on; may be called from any thread."""
        if self.works:
            self._cores.rest(self)

    def leave(self) -> None:
        """Take part no more: the model closes. May be called from any thread, and again."""
        self.wake = _wake_nobody
        self._cores.leave(self)


def _wake_nobody() -> None:
    """Stand in for a worker that is gone, or not there yet."""
