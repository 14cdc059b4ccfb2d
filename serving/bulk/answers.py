"""The rows of the output, as Arrow tables, and what they add up to."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serving.bulk.classifier import Answers
from serving.bulk.items import SourceError
from serving.policy.confidence import max_probability


@dataclass
class Tally:
    """What shards add up to.

    Attributes:
        rows: rows of the output.
        errors: those without an answer.
        exits: number of answers per exit, from 1.
        flops: what they cost together.
    """

    rows: int = 0
    errors: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    flops: int = 0

    def add(self, other: "Tally") -> None:
        """Add another one's rows."""
        self.rows += other.rows
        self.errors += other.errors
        self.exits.update(other.exits)
        self.flops += other.flops

    def facts(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        exits = {str(exit_number): count for exit_number, count in sorted(self.exits.items())}
        return {"rows": self.rows, "errors": self.errors, "exits": exits, "flops": self.flops}

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.facts())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote."""
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return what `facts` was made of."""
        exits = Counter({int(exit_number): count for exit_number, count in facts["exits"].items()})
        return cls(facts["rows"], facts["errors"], exits, facts["flops"])


class Kept(NamedTuple):
    """Columns of the source that are carried to the output.

    Attributes:
        fields: their Arrow fields.
        rows: their values of each image.
    """

    fields: Sequence[Any]
    rows: Sequence[tuple[Any, ...]]


NOTHING_KEPT = Kept((), ())


def schema(classes: int, *, probabilities: bool, kept: Sequence[Any] = ()) -> Any:
    """Return the columns of the output.

    Args:
        classes: number of classes.
        probabilities: whether it has those of all classes.
        kept: Arrow fields of the source's columns that are carried to it.

    Raises:
        SourceError: one of those has the name of another column.
    """
    columns = [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("class_index", pa.int32()),
        pa.field("class_name", pa.string()),
        pa.field("confidence", pa.float32()),
        pa.field("exit", pa.int32()),
        pa.field("flops", pa.int64()),
        pa.field("error", pa.string()),
    ]
    if probabilities:
        columns.append(pa.field("probabilities", pa.list_(pa.float32(), classes)))
    taken = {field.name for field in columns}
    for field_kept in kept:
        if field_kept.name in taken:
            raise SourceError(f"--keep: the output has another column {field_kept.name!r}")
        taken.add(field_kept.name)
    return pa.schema([*columns, *kept])


def table(
    start: int,
    paths: Sequence[str],
    errors: Mapping[int, str],
    answers: Answers | None,
    *,
    classes: Sequence[str],
    exit_flops: Sequence[int],
    probabilities: bool,
    kept: Kept = NOTHING_KEPT,
) -> tuple[Any, Tally]:
    """Make the rows of a shard.

    Args:
        start: the source's number of the first image.
        paths: of each image.
        errors: of the images that could not be decoded, by their place in the shard.
        answers: to the others, in order; None if there are none.
        classes: class names, by index.
        exit_flops: the cost of leaving at each exit, in FLOPs per image.
        probabilities: whether the output has those of all classes.
        kept: columns of the source that are carried to it.

    Returns:
        an Arrow table, and what it adds up to.
    """
    rows = len(paths)
    decoded = [place for place in range(rows) if place not in errors]
    texts: list[str | None] = [errors.get(place) for place in range(rows)]
    exits = np.zeros(rows, np.int64)
    found = np.zeros((rows, len(classes)), np.float32)
    if answers is not None:
        exits[decoded], found[decoded] = answers.exits, answers.probabilities
        for place, error in answers.errors.items():
            texts[decoded[place]] = error
    missing = exits == 0
    likeliest = found.argmax(axis=1)
    costs = np.array((0, *exit_flops), np.int64)
    columns = [
        pa.array(np.arange(start, start + rows)),
        pa.array(paths, pa.string()),
        _column(likeliest.astype(np.int32), missing),
        pa.array(
            [
                None if absent else classes[index]
                for index, absent in zip(likeliest.tolist(), missing.tolist(), strict=True)
            ],
            pa.string(),
        ),
        _column(max_probability(found).astype(np.float32), missing),
        _column(exits.astype(np.int32), missing),
        _column(costs[exits], missing),
        pa.array(texts, pa.string()),
    ]
    if probabilities:
        flat = pa.array(found.reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, len(classes), mask=pa.array(missing)))
    for place, field_kept in enumerate(kept.fields):
        columns.append(pa.array([row[place] for row in kept.rows], field_kept.type))
    columns_of = schema(len(classes), probabilities=probabilities, kept=kept.fields)
    made = pa.Table.from_arrays(columns, schema=columns_of)
    counts = Counter(exits[~missing].tolist())
    return made, Tally(rows, int(missing.sum()), counts, 0 if answers is None else answers.spent_flops)


def _column(values: npt.NDArray[Any], missing: npt.NDArray[np.bool_]) -> Any:
    return pa.array(values, mask=missing)
