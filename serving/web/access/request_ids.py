"""A name for each request, made here, and the caller's own, which is given back to it."""

import re
import secrets
from itertools import count

from starlette.types import Scope

HEADER = b"offramp-request-id"
"""The response header with the server's own name for the request."""
ECHOED = b"x-request-id"
"""The header that a caller may bring a name of its own in; it comes back, and means nothing here."""

_ECHOABLE = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestIds:
    """Makes ids that no other request has: of this process, of others beside it, or after a restart.

    Args:
        process: the number of the process among those that serve together.
    """

    def __init__(self, process: int = 0) -> None:
        self._start = f"{process}-{secrets.token_hex(4)}-"
        self._numbers = count(1)

    def make(self) -> str:
        """Return the next id: process number, a random start, a running number."""
        return f"{self._start}{next(self._numbers)}"


def echoed(scope: Scope) -> bytes | None:
    """Return the caller's own id, if it brought one that can be given back as it is."""
    for name, value in scope["headers"]:
        if name == ECHOED:
            return value if _ECHOABLE.fullmatch(value) else None
    return None
