"""Tells the listeners of a server what one version of a model reports, each what it can make sense of.

Metrics have no label for the version: what is counted is summed over all versions, what is a state (drift,
corrections, whether the worker lives) is the current version's. Logs name the version.
"""

from collections.abc import Callable

from serving.events import Event, ExitShadowed, Listener, RequestDone, RequestFailed, RowsBroken, StageRan

_COUNTED = (StageRan, RequestDone, RequestFailed, RowsBroken, ExitShadowed)


class VersionListener:
    """Listens to one version.

    Args:
        metrics: count all versions together, and show the state of the current one.
        others: hear of everything.
        is_current: whether this version answers who names none.
    """

    def __init__(self, metrics: Listener, others: Listener, is_current: Callable[[], bool]) -> None:
        self._metrics, self._others, self._is_current = metrics, others, is_current

    def __call__(self, event: Event) -> None:
        """Pass one event on; called from any thread."""
        if isinstance(event, _COUNTED) or self._is_current():
            self._metrics(event)
        self._others(event)
