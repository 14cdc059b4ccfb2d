"""Keeps a second server off an address, from before its models are loaded.

A port that is bound and not listened on yet can be bound by another server too (`SO_REUSEADDR`): two that
start together would both take it, and the second would fail when its models are loaded, or take turns.
"""

import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import OfframpError


@contextmanager
def only_server(host: str, port: int) -> Iterator[None]:
    """Hold an address while the server lives; the system lets it go when the process ends, however it ends.

    Args:
        host: as it is listened on.
        port: 0, a free one, is never taken.

    Raises:
        OfframpError: another server holds it.
    """
    if port == 0:
        yield
        return
    try:
        held = _hold(f"offramp-{port}-{host}".replace("/", "_"))
    except OSError as error:
        raise OfframpError(
            f"cannot listen on {host} port {port}: another server is starting or running there; "
            "choose another with --host and --port (0 takes a free port)"
        ) from error
    try:
        yield
    finally:
        held()


def _hold(name: str) -> Callable[[], None]:
    """Take a name that one process can have; returns what gives it back.

    Raises:
        OSError: another process has it.
    """
    if hasattr(socket, "AF_UNIX") and sys.platform.startswith("linux"):
        # A name without a file, which is gone with the process and seen in this network namespace alone.
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(b"\0" + name.encode()[:100])
        except OSError:
            held.close()
            raise
        return held.close
    import fcntl

    file = (Path(tempfile.gettempdir()) / f"{name}.lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file.close
