"""Keeps what goes wrong in a listener away from the core that it listens to."""

import logging

from serving.events import Event, Listener

_LOGGER = logging.getLogger(__name__)


def shielded(listener: Listener | None) -> Listener:
    """Wrap a listener so that its exceptions are logged, with the event, instead of raised.

    A broken metric must not cost a caller an answer. None listens to nothing.
    """
    if listener is None:
        return lambda _event: None

    def listen(event: Event) -> None:
        try:
            listener(event)
        except Exception:
            _LOGGER.exception("a listener failed on %s; serving goes on", type(event).__name__)

    return listen


def fan_out(*listeners: Listener) -> Listener:
    """Return one listener that tells all of `listeners`, in their order."""

    def listen(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return listen
