"""Compares two versions by their answers: a canary's to other requests, a shadow's to the same images.

Images of one request are counted as independent; where requests have many like images the intervals are too
narrow.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

from serving.answer import Answer
from serving.events import AnswersCompared, Event, ShadowCompared
from serving.repository.moments import Moments

Role = Literal["current", "canary", "shadow"]


@dataclass
class Tally:
    """What one version did while it was compared.

    Attributes:
        version: its number, with its model's name where that is another one.
        requests: answered.
        failed: requests that ended in an error of the model; who hung up is not counted.
        exits: images, by the exit that answered, from 1.
        flops: of its answers, per image.
        confidence: of its answers, per image.
        seconds: from admission to answer, per request.
    """

    version: str
    requests: int = 0
    failed: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    flops: Moments = field(default_factory=Moments)
    confidence: Moments = field(default_factory=Moments)
    seconds: Moments = field(default_factory=Moments)

    def add(self, answers: Sequence[Answer], seconds: float) -> None:
        """Take in the answers of a request."""
        self.requests += 1
        self.seconds.add(seconds)
        for answer in answers:
            self.exits[answer.exit] += 1
            self.flops.add(answer.flops)
            self.confidence.add(answer.confidence)

    def __add__(self, other: "Tally") -> "Tally":
        """Return what the same version did in both."""
        return Tally(
            self.version,
            self.requests + other.requests,
            self.failed + other.failed,
            self.exits + other.exits,
            self.flops + other.flops,
            self.confidence + other.confidence,
            self.seconds + other.seconds,
        )


@dataclass
class Paired:
    """The same images, answered by both: how many, how many alike, the second's numbers less the first's."""

    images: int = 0
    agreed: int = 0
    missed: int = 0
    flops: Moments = field(default_factory=Moments)
    confidence: Moments = field(default_factory=Moments)

    def __add__(self, other: "Paired") -> "Paired":
        """Return both lots of images."""
        return Paired(
            self.images + other.images,
            self.agreed + other.agreed,
            self.missed + other.missed,
            self.flops + other.flops,
            self.confidence + other.confidence,
        )


@dataclass(frozen=True)
class Compared:
    """A comparison as it is at a moment; its tallies change no more.

    Attributes:
        role: of the other version.
        running: whether it goes on.
        share: of the requests.
        current: what the current version did.
        other: what the other one did.
        paired: what both said of the same images.
    """

    role: Role
    running: bool
    share: float
    current: Tally
    other: Tally
    paired: Paired

    def __add__(self, other: "Compared") -> "Compared":
        """Return what two processes saw of the same comparison."""
        return Compared(
            self.role,
            self.running or other.running,
            self.share,
            self.current + other.current,
            self.other + other.other,
            self.paired + other.paired,
        )

    def is_like(self, other: "Compared") -> bool:
        """Whether the same versions are compared in the same way."""
        return (self.role, self.share, self.current.version, self.other.version) == (
            *(other.role, other.share),
            *(other.current.version, other.other.version),
        )


class Comparison:
    """Counts the answers of the current version and of another one; called from any thread.

    Args:
        model: the name that both answer to.
        role: of the other version.
        current: the number of the current version.
        other: names the other version.
        share: of the requests.
        emit: gets what was counted.

    Attributes:
        lock: held while the tallies change.
        running: False once it is over.
    """

    def __init__(
        self, model: str, role: Role, current: str, other: str, share: float, emit: Callable[[Event], None]
    ) -> None:
        self.model, self.role, self.share = model, role, share
        self.current, self.other = Tally(current), Tally(other)
        self.paired = Paired()
        self.running = True
        self.lock = threading.Lock()
        self._emit = emit

    def now(self) -> Compared:
        """Return it as it is at this moment."""
        with self.lock:
            tallies = deepcopy((self.current, self.other, self.paired))
        return Compared(self.role, self.running, self.share, *tallies)

    def answered(self, role: Role, answers: Sequence[Answer], seconds: float) -> None:
        """Take in the answers of a request that was admitted so many seconds ago."""
        tally = self._tally(role)
        with self.lock:
            tally.add(answers, seconds)
        flops = sum(answer.flops for answer in answers)
        confidence = sum(answer.confidence for answer in answers)
        self._emit(AnswersCompared(self.model, tally.version, role, len(answers), flops, confidence))

    def failed(self, role: Role) -> None:
        """Take in a request that ended in an error."""
        tally = self._tally(role)
        with self.lock:
            tally.failed += 1
        self._emit(AnswersCompared(self.model, tally.version, role, 0, 0, 0.0, failed=1))

    def both(self, first: Sequence[Answer], second: Sequence[Answer]) -> None:
        """Take in what both say of the same images, the current version first."""
        agreed = [one.class_name == two.class_name for one, two in zip(first, second, strict=True)]
        with self.lock:
            self.paired.images += len(agreed)
            self.paired.agreed += sum(agreed)
            for one, two in zip(first, second, strict=True):
                self.paired.flops.add(two.flops - one.flops)
                self.paired.confidence.add(two.confidence - one.confidence)
        self._emit(ShadowCompared(self.model, self.other.version, len(agreed), sum(agreed), 0))

    def missed(self, images: int) -> None:
        """Take in images that were sampled and found no idle time."""
        with self.lock:
            self.paired.missed += images
        self._emit(ShadowCompared(self.model, self.other.version, 0, 0, images))

    def follow(self, role: Role, clock: Callable[[], float], request: Any) -> None:
        """Take in how a request that was just admitted will end."""
        started = clock()

        def over(done: Any) -> None:
            if done.cancelled():
                return
            if done.exception() is not None:
                self.failed(role)
            else:
                self.answered(role, done.result(), clock() - started)

        request.future.add_done_callback(over)

    def _tally(self, role: Role) -> Tally:
        return self.current if role == "current" else self.other
