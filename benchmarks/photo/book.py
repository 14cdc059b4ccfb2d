"""The measured rounds as one JSON file, which a run that was interrupted, or asked for more, goes on with."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.system.atomic import write_atomically

Round = dict[str, float]
"""One measurement of a row: its rate, its processor time, and what else was noted."""


class BookError(RuntimeError):
    """A file holds rounds that these ones cannot be put beside."""


@dataclass
class Book:
    """Rounds by row, and the facts under which all of them were measured.

    Args:
        path: of the file.
        facts: machine, versions and settings; those of an earlier run must be the same.
        networks: exit costs and exit shares by network and precision.
        rounds: by row.
    """

    path: Path
    facts: dict[str, Any]
    networks: dict[str, Any] = field(default_factory=dict)
    rounds: dict[str, list[Round]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, facts: dict[str, Any]) -> "Book":
        """Go on with a file, or start one.

        Raises:
            BookError: its rounds were measured under other facts.
        """
        facts = json.loads(json.dumps(facts))
        if not path.exists():
            return cls(path, facts)
        book = cls.read(path)
        apart = sorted(key for key in facts | book.facts if facts.get(key) != book.facts.get(key))
        if apart:
            raise BookError(
                f"{path} was measured with another {', '.join(apart)}: rounds of both cannot stand side by "
                "side; remove it, or give another --out"
            )
        return book

    @classmethod
    def read(cls, path: Path) -> "Book":
        """Read a file as it is."""
        return cls(path, **json.loads(path.read_text()))

    def has(self, row: str, round_number: int) -> bool:
        """Whether a row has so many rounds already."""
        return len(self.rounds.get(row, [])) >= round_number

    def add(self, row: str, measured: Round) -> None:
        """Keep a round, on disk too."""
        self.rounds.setdefault(row, []).append(measured)
        self.save()

    def save(self) -> None:
        """Write the file."""
        document = {"facts": self.facts, "networks": self.networks, "rounds": self.rounds}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(document, indent=1).encode() + b"\n")


def row_name(network: str, precision: str, connections: int | None, who: str) -> str:
    """The name of a row; floors have no connections.

    >>> row_name("resnet50", "int8", 64, "offramp at 50%")
    'resnet50 / int8 / 64 / offramp at 50%'
    """
    return " / ".join((network, precision, "-" if connections is None else str(connections), who))
