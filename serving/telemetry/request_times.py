"""Where the time of one request went: decoding, waiting, each stage, answering."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.scheduler.request import StageTime


@dataclass(frozen=True, slots=True)
class TimedPart:
    """A part of a request's time, by `time.monotonic`."""

    name: str
    begun: float
    ended: float
    attributes: dict[str, Any]


@dataclass(slots=True)
class RequestTimes:
    """Times of one request, in seconds of `time.monotonic`, as far as it got.

    Attributes:
        decoding_at: its first image began to be decoded.
        admitted_at: all images were, and the model admitted them.
        answered_at: the model had answered.
        stages: its runs of stages, in their order.
    """

    decoding_at: float | None = None
    admitted_at: float | None = None
    answered_at: float | None = None
    stages: Sequence[StageTime] = field(default_factory=tuple)

    def parts(self) -> list[TimedPart]:
        """Return all parts: `decode`, `queue` and `stage k` in turns, `answer`; `queue` is all in between."""
        parts: list[TimedPart] = []
        if self.decoding_at is None or self.admitted_at is None:
            return parts
        parts.append(TimedPart("decode", self.decoding_at, self.admitted_at, {}))
        waited_since = self.admitted_at
        for stage in self.stages:
            if stage.begun > waited_since:
                parts.append(TimedPart("queue", waited_since, stage.begun, {}))
            ended = stage.begun + stage.seconds
            attributes = {"offramp.batch_images": stage.batch_rows, "offramp.images": stage.rows}
            parts.append(TimedPart(stage.name, stage.begun, ended, attributes))
            waited_since = max(waited_since, ended)
        if self.answered_at is not None and self.answered_at > waited_since:
            parts.append(TimedPart("answer", waited_since, self.answered_at, {}))
        return parts

    def server_timing(self) -> str:
        """Return the value of a `Server-Timing` header (W3C), in milliseconds, each name's parts summed."""
        seconds: dict[str, float] = {}
        for part in self.parts():
            seconds[part.name] = seconds.get(part.name, 0.0) + part.ended - part.begun
        return ", ".join(f"{name.replace(' ', '')};dur={1e3 * each:.3f}" for name, each in seconds.items())
