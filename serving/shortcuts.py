"""Cheaper ways through a net, for rows that cannot leave at the heads on the way: the scheduler's side.

A head need not run where no row of the batch could leave: its threshold is above every score. Which exits are
out of reach of a row's thresholds is settled when it is admitted (`next_exits`); what can be run instead is
handed in as plain callables (`serving.variants` makes them out of a bundle's graphs).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from serving.confidence import HIGHEST_SCORE, FloatArray
from serving.rows import Request, Row, Tensors


@dataclass(frozen=True)
class Shortcuts:
    """What can be run in the place of segments as they are.

    Attributes:
        headless: by stage, the segment without its head: inputs [N, ...] -> the features for the next stage,
            the same to the last bit.
        whole: all segments in one graph, with the last head alone: images -> probabilities [N, C].
        whole_is_exact: whether these are the segments' own to the last bit, as far as was seen.
    """

    headless: Mapping[int, Callable[[Tensors], Tensors]] = field(default_factory=dict)
    whole: Callable[[Tensors], FloatArray] | None = None
    whole_is_exact: bool = True

    @property
    def steps_only(self) -> "Shortcuts":
        """Those that are no longer than a stage, for work that callers must not wait for."""
        return Shortcuts(self.headless)


NO_SHORTCUTS = Shortcuts()


def next_exits(thresholds: Sequence[float]) -> tuple[int, ...]:
    """For each exit, the index of the first one from there on at which a row could leave.

    Args:
        thresholds: one per exit; the last is not read, since nobody can stay.

    >>> next_exits([0.9, 2.0, float("-inf")])
    (0, 2, 2)
    """
    nearest = len(thresholds) - 1
    found = [nearest]
    for exit_index in reversed(range(len(thresholds) - 1)):
        if thresholds[exit_index] <= HIGHEST_SCORE:
            nearest = exit_index
        found.append(nearest)
    return tuple(reversed(found))


def needs_head(stage: int, rows: Sequence[Row]) -> bool:
    """Whether anybody has use for the answers of an exit: could leave there, or keeps them until the next."""
    for row in rows:
        request = row.request
        exits = request.terms.next_exits
        if not exits or exits[stage] == stage or request.notes_all:
            return True
    return False


def goes_straight(request: Request[object]) -> bool:
    """Whether the rows of a request can leave nowhere but at the last exit, and nobody asks before."""
    exits = request.terms.next_exits
    return bool(exits) and not request.notes_all and exits[0] == len(exits) - 1
