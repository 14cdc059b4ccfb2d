"""Which of those who wait for cores computes next: synchronous, told the time, without threads or locks.

The next turn is that of the place that has used the least: start-time fair queueing (Goyal, Vin and Cheng,
*Start-time Fair Queuing: A Scheduling Algorithm for Integrated Services Packet Switching Networks*, 1996). A
turn's length is its cores times its seconds. Deviations: the length is known only when the turn is over; a
turn that takes longer than it may goes on beside the next one, and that time is not charged; a place that has
used less than its share waits for nobody, and computes beside the others.
"""

from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Place:
    """One of those who share the cores.

    Attributes:
        cores: that a turn of it takes.
        computes: whether it has a turn now.
        counts: whether that turn keeps cores from others.
        since: the second at which the turn began.
        start: what it had used when it asked, in core-seconds of virtual time.
        finish: the same after its last turn.
        behind: whether all that compute had used more by then.
    """

    cores: int
    computes: bool = False
    counts: bool = False
    since: float = 0.0
    start: float = 0.0
    finish: float = 0.0
    behind: bool = False


class FairTurns:
    """Turns of a few places on some cores.

    Args:
        cores: how many there are.
        turn_seconds: after so long the cores of a turn are the next one's.

    >>> turns, first, second = FairTurns(2, turn_seconds=1.0), Place(2), Place(2)
    >>> turns.ask(first, now=0.0)
    >>> turns.ask(second, now=0.0)
    >>> turns.grant(now=0.0) == [first]
    True
    >>> turns.give_back(first, now=0.5)
    >>> turns.ask(first, now=0.5)
    >>> turns.grant(now=0.5) == [second]
    True
    """

    def __init__(self, cores: int, turn_seconds: float) -> None:
        self._free = cores
        self._turn_seconds = turn_seconds
        self._virtual = 0.0  # the start of the turn that began last
        self._waiting: list[Place] = []
        self._counting: list[Place] = []

    def ask(self, place: Place, now: float) -> None:
        """Let a place wait for its turn; it must neither wait nor compute."""
        used = min((self._used(other, now) for other in self._counting), default=self._virtual)
        place.behind = place.finish < used
        place.start = max(self._virtual, place.finish)
        self._waiting.append(place)

    def grant(self, now: float) -> list[Place]:
        """Begin the turns for which there are cores, and return the places."""
        granted: list[Place] = []
        while self._waiting:
            place = min(self._waiting, key=_rank)
            if place.cores > self._free:
                self._end_overlong(now)
            fits = place.cores <= self._free
            if not (fits or place.behind):
                break  # one that needs fewer waits, too: many of them would keep this one waiting for ever
            self._waiting.remove(place)
            if fits:
                self._counting.append(place)
                self._free -= place.cores
            self._virtual = place.start
            place.computes, place.counts, place.since = True, fits, now
            granted.append(place)
        return granted

    def give_back(self, place: Place, now: float) -> None:
        """End a place's turn, or its waiting; does nothing if it has neither."""
        if place.computes:
            place.computes = False
            place.finish = self._used(place, now)
            self._uncount(place)
        elif place in self._waiting:
            self._waiting.remove(place)

    def _used(self, place: Place, now: float) -> float:
        """Return what a place has used that has a turn."""
        return place.start + place.cores * min(now - place.since, self._turn_seconds)

    def _end_overlong(self, now: float) -> None:
        for place in [place for place in self._counting if now - place.since >= self._turn_seconds]:
            self._uncount(place)

    def _uncount(self, place: Place) -> None:
        if place.counts:
            place.counts = False
            self._counting.remove(place)
            self._free += place.cores


def _rank(place: Place) -> tuple[bool, float]:
    return not place.behind, place.start
