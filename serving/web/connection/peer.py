"""Whether the other end of a connection is still there, without reading from it."""

import socket
import sys
from enum import Enum

_INFO_BYTES = 8
_CLOSED, _CLOSE_WAIT = 7, 8  # states of tcp(7), include/net/tcp_states.h


class Peer(Enum):
    """Facts about the other end."""

    THERE = "there"
    SENDS_NO_MORE = "sends no more"
    """It closed its sending side: it waits for the answer, or it is gone; only a write shows which."""
    GONE = "gone"
    UNKNOWN = "unknown"
    """The system does not say."""


def peer_of(connection: "socket.socket | None") -> Peer:
    """Ask the system about a TCP connection."""
    if connection is None or not sys.platform.startswith("linux"):
        return Peer.UNKNOWN
    try:
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)[0]
    except OSError:
        return Peer.UNKNOWN
    return {_CLOSED: Peer.GONE, _CLOSE_WAIT: Peer.SENDS_NO_MORE}.get(state, Peer.THERE)
