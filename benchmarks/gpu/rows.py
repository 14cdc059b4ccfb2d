"""What was found of each way through a network, and how far their answers agree."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .ways import Turn


@dataclass
class Row:
    """What was found of one way.

    Args:
        precision: of the bundle.
        features: where they wait.
        provider: that was asked for.
        trouble: why it does not run; None where it does.
        load_seconds: until it was ready.
        turns: the rounds that count.
    """

    precision: str
    features: str
    provider: str
    trouble: str | None = None
    load_seconds: float | None = None
    turns: list[Turn] = field(default_factory=list)

    @property
    def answers(self) -> list[tuple[int, int]]:
        """Class and exit of each image; none where it did not run."""
        return self.turns[-1].answers if self.turns and self.trouble is None else []

    def __str__(self) -> str:
        """Name the way, for a line of progress."""
        return f"{self.precision}, features on the {self.features}, {self.provider}"


def facts(rows: Sequence[Row], exits: int) -> list[dict[str, Any]]:
    """Return the rows' figures, and how many of their answers agree.

    Args:
        rows: of one network.
        exits: of the network.
    """
    first = next((row for row in rows if row.answers), None)
    return [_facts(row, exits, _twin(row, rows), first) for row in rows]


def _twin(row: Row, rows: Sequence[Row]) -> Row | None:
    """The row with features on the host, where this one has them on the device."""
    alike = [
        other
        for other in rows
        if (other.provider, other.precision, other.features) == (row.provider, row.precision, "host")
    ]
    return alike[0] if alike and row.features == "device" else None


def _facts(row: Row, exits: int, twin: Row | None, first: Row | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "precision": row.precision,
        "features": row.features,
        "provider": row.provider,
        "trouble": row.trouble,
    }
    if not row.answers:
        return found
    images = len(row.answers)
    found |= {
        "load_seconds": row.load_seconds,
        "images_per_second": [images / turn.seconds for turn in row.turns],
        "processor_ms": [1e3 * turn.processor_seconds / images for turn in row.turns],
        "exits": [sum(place == number for _, place in row.answers) for number in range(1, exits + 1)],
    }
    if twin and twin.answers:
        pairs = zip(row.turns, twin.turns, strict=True)
        found["over_host"] = [host.seconds / device.seconds for device, host in pairs]
        found["as_host"] = _same(row, twin)
    if first:
        found["as_first"] = _same(row, first)
    return found


def _same(row: Row, other: Row) -> int:
    """How many images got the same class from the same exit."""
    return sum(one == two for one, two in zip(row.answers, other.answers, strict=True))
