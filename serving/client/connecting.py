"""What both clients do with httpx: headers, limits on answers, and its errors in our words."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from serving.client.calls import Call, Reply
from serving.client.errors import NoAnswerError, UnexpectedAnswerError
from serving.client.retries import Attempts

Verify = ssl.SSLContext | bool

MAX_ANSWER_BYTES = 64 * 2**20
"""The most bytes of an answer."""


def headers_of(key: str | None) -> dict[str, str]:
    """Return the headers of every request; answers come uncompressed, so that their size is what is read.

    Args:
        key: of the caller, where the server asks for one.

    Raises:
        ValueError: it has characters that no header can hold.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "offramp-client"}
    if key is not None:
        if not key or not all("\x21" <= character <= "\x7e" for character in key):
            raise ValueError("expected a key of printable ASCII characters without blanks")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def base_url_of(text: str) -> httpx.URL:
    """Return the address of a server.

    Raises:
        ValueError: it is none.
    """
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"expected an address such as http://localhost:8000, found {text!r}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"expected an address such as http://localhost:8000, found {text!r}")
    return url


def timeout_of(timeout_seconds: float) -> float:
    """Return the time that a call may take.

    Raises:
        ValueError: it is none.
    """
    if not 0 < timeout_seconds < float("inf"):
        raise ValueError(f"expected a timeout of more than 0 s, and a finite one, found {timeout_seconds:g}")
    return timeout_seconds


def request_of(http: httpx.Client | httpx.AsyncClient, call: Call[Any], left_seconds: float) -> httpx.Request:
    """Return the request of a call, no step of which waits longer than the time that is left."""
    return http.build_request(
        call.method,
        call.path,
        params=dict(call.query),
        content=call.body,
        headers={} if call.content_type is None else {"Content-Type": call.content_type},
        timeout=left_seconds,
    )


class Receiving:
    """The bytes of an answer as they arrive.

    Args:
        response: its head.
        attempts: whose time runs.
    """

    def __init__(self, response: httpx.Response, attempts: Attempts) -> None:
        self._response, self._attempts = response, attempts
        self._body = bytearray()

    def add(self, chunk: bytes) -> None:
        """Take some bytes.

        Raises:
            UnexpectedAnswerError: they are too many.
            NoAnswerError: the time is up.
        """
        self._body += chunk
        if len(self._body) > MAX_ANSWER_BYTES:
            raise UnexpectedAnswerError(f"expected an answer of at most {MAX_ANSWER_BYTES:,} bytes")
        self._attempts.left_seconds()

    def reply(self) -> Reply:
        """Return all of it."""
        headers = {name.lower(): value for name, value in self._response.headers.items()}
        return Reply(self._response.status_code, headers, bytes(self._body))


@contextmanager
def explained(base_url: httpx.URL) -> Iterator[None]:
    """Say in our words why no answer came.

    Raises:
        NoAnswerError: no connection, a lost one, or a wait that was too long.
        UnexpectedAnswerError: bytes that are not what their headers say.
    """
    try:
        yield
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise NoAnswerError(f"no answer from {base_url}: {reason}") from error
    except httpx.RequestError as error:
        raise UnexpectedAnswerError(f"an unreadable answer from {base_url}: {error}") from error
