"""Finds out whether a caller that sends no more still waits for its answer.

A caller that closes only its sending side (`nc -N`, some proxies) is to be answered; one that closed
everything does not, and both look the same until something is sent to them. An interim response, 100
Continue, may be sent at any time before the answer (RFC 9110, section 15.2): a caller that waits skips it,
and the system of one that is gone says so.
"""

import asyncio
from collections.abc import Callable

from serving.web.connection.peer import Peer, peer_of

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
_FIRST_SECONDS, _MOST_SECONDS = 0.005, 1.0


class PeerWatch:
    """Looks at one connection from time to time while it is answered; ends it where the caller is gone.

    Args:
        transport: the connection's.
        loop: calls back.
        may_probe: whether an interim response may be sent now.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        may_probe: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._may_probe = may_probe
        self._timer: asyncio.TimerHandle | None = None
        self._seconds = _FIRST_SECONDS

    def start(self) -> None:
        """Look now, and then less and less often; does nothing where it looks already."""
        if self._timer is None:
            self._seconds = _FIRST_SECONDS
            self._look(probe=True)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, *, probe: bool) -> None:
        self._timer = None
        if self._transport.is_closing():
            return
        found = peer_of(self._transport.get_extra_info("socket"))
        if found is Peer.GONE:
            self._transport.abort()
            return
        if probe and found is not Peer.THERE and self._may_probe():
            self._transport.write(INTERIM)
        # A second probe where the system does not say: writing to a connection that was reset fails.
        again = self._seconds >= _MOST_SECONDS or found is Peer.UNKNOWN
        self._timer = self._loop.call_later(self._seconds, lambda: self._look(probe=again))
        self._seconds = min(2 * self._seconds, _MOST_SECONDS)
