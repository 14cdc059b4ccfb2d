"""Cheaper ways through a net, for rows that cannot leave at the heads on the way: the scheduler's side.

A head need not run where no row of the batch could leave: its threshold is above every score. The exits that
a row can leave at are settled at admission (`next_exits`); the graphs to run instead are handed in as plain
callables (`serving.engine.graph_variants` makes them out of a bundle's graphs).
"""

from collections.abc import Sequence

from serving.policy.confidence import HIGHEST_SCORE
from serving.scheduler.request import Request, Row


def next_exits(thresholds: Sequence[float]) -> tuple[int, ...]:
    """For each exit, the index of the first one from there on at which a row could leave.

    Args:
        thresholds: one per exit; the last is not read, since no row can stay.

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
    """Whether the rows of a request can leave only at the last exit, and no early head is needed."""
    exits = request.terms.next_exits
    return bool(exits) and not request.notes_all and exits[0] == len(exits) - 1
