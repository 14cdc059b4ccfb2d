"""Gives a listener the ends of requests in the order in which they were admitted, not in which they ended.

Cheap images are answered first. Of many that were admitted together, a listener would get the cheap ones
first and the dear ones last, as if the traffic had changed.
"""

import threading

from serving.events import Event, Listener, RequestDone, RequestFailed


class ReorderBuffer:
    """Holds an event back until every request that was admitted before has ended; safe from any thread.

    Every admitted request ends in exactly one event, so nothing is held for longer than requests are in.
    Events without a number pass at once.

    Args:
        listener: called in order, by one thread at a time.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._early: dict[int, Event] = {}
        self._next = 0

    def __call__(self, event: Event) -> None:
        """Take in an event, and tell what is due."""
        if not isinstance(event, RequestDone | RequestFailed) or event.number is None:
            self._listener(event)
            return
        with self._lock:
            self._early[event.number] = event
            while (due := self._early.pop(self._next, None)) is not None:
                self._next += 1
                self._listener(due)
