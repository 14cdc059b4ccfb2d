"""Access control: hosts, keys and ports are checked before a request comes to the app."""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from serving.errors import KeyLimitError
from serving.web.access.keys import Key, KeyRing
from serving.web.access.limits import ALLOWANCE
from serving.web.connection.framing import host_name
from serving.web.problems import problem, refusal

HEALTH = frozenset(("/v2/health/live", "/v2/health/ready"))
"""Paths that need no key: a health probe has none, and often no name for the server."""

_PUBLIC = re.compile(r"/classify|/models(/.*)?|/v2|/v2/health/.*|/v2/models/.*|/v2/repository/index")
_ADMIN = re.compile(r"/models/[^/]+/(labels|recent)|/v2/repository/models/.*")
"""Paths that change the server's state, or show callers' images: on the second port, or where callers may."""
_SHOWN = re.compile(r"/models/[^/]+/samples")
"""Paths that the console alone needs: on its port."""
_PAGES = re.compile(r"/|/console/assets/[^/]+|/docs|/docs/start\.js|/docs/assets/[^/]+|/openapi\.json")
"""Paths that need no key, where they are served: a browser asks for the key with what is there."""
_KEPT_HOSTS = 64  # a Host header may have 64 KB
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """The conditions that a request must meet before it is served.

    Args:
        hosts: names that the server answers to; None is any. `*.example.com` is every name below it.
        keys: whose keys count; None asks for none.
        admin_port: the port that serves everything; other ports serve what is public. None serves everything
            everywhere, but for what changes the server's state.
        allow_admin: whether that is served on every port.
    """

    hosts: tuple[str, ...] | None = None
    keys: KeyRing | None = None
    admin_port: int | None = None
    allow_admin: bool = False

    def check(self, scope: Scope) -> tuple[Response | None, Key | None]:
        """Return the answer to a request that may not come in, or None; and its key if it has one.

        The request counts among those of its key, whose allowance is `ALLOWANCE` from now on.
        """
        path = scope["path"]
        if path in HEALTH:
            return None, None
        headers = Headers(scope=scope)
        if self.hosts is not None and not _is_among(headers.get("host", ""), self.hosts):
            return problem(421, "expected a Host that this server answers to (--allowed-hosts)"), None
        if not self._is_open(scope, path):
            return problem(404, "there is nothing at this path on this port"), None
        if self.keys is None or _PAGES.fullmatch(path):
            return None, None
        key = self.keys.find(headers.get("authorization", ""))
        if key is None:
            ask = {"WWW-Authenticate": "Bearer"}
            return problem(401, "expected a key of this server: Authorization: Bearer KEY", headers=ask), None
        ALLOWANCE.set(key.allowance)
        if key.allowance is not None:
            try:
                key.allowance.take_request()
            except KeyLimitError as error:
                return refusal(error), key
        return None, key

    def _is_open(self, scope: Scope, path: str) -> bool:
        port = (scope.get("server") or (None, None))[1]
        if self.admin_port is not None and port == self.admin_port:
            return True
        if _ADMIN.fullmatch(path):
            return self.allow_admin
        if self.admin_port is None:
            return True
        return _PUBLIC.fullmatch(path) is not None and not _SHOWN.fullmatch(path)


def default_hosts(bound_to: str) -> tuple[str, ...] | None:
    """Names to answer to where none are set: those of this machine where it listens there alone, else any.

    A page in a browser can make a name of its own lead to 127.0.0.1 and then read what is served there.
    """
    try:
        loopback = ipaddress.ip_address(bound_to).is_loopback
    except ValueError:
        loopback = bound_to == "localhost"
    return (*LOOPBACK_HOSTS, bound_to) if loopback else None


@lru_cache(_KEPT_HOSTS)
def _is_among(host: str, allowed: tuple[str, ...]) -> bool:
    name = host_name(host.encode("latin-1", "replace"))
    return any(
        name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:])) for pattern in allowed
    )
