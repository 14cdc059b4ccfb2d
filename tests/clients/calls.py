"""What the scripts share that ask a server with a foreign client, each in an environment of its own."""

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Asked:
    """Where to ask, and what the server must say.

    Attributes:
        url: of the HTTP server, without the scheme.
        grpc_url: of the gRPC server.
        admin_url: of the port that changes models.
        model: the name of the model.
        pixels: images, as nested lists.
        files: the same images as PNG files, in hexadecimal digits.
        classes: the classes that `POST /classify` gives them.
    """

    url: str
    grpc_url: str
    admin_url: str
    model: str
    pixels: list[Any]
    files: list[str]
    classes: list[int]


def asked() -> Asked:
    """Read it from standard input."""
    return Asked(**json.load(sys.stdin))


def call(client: str, name: str, ask: Callable[[], Any]) -> None:
    """Ask, and write what came of it to standard output, as a line of JSON."""
    try:
        result, worked = str(ask()), True
    except Exception:
        result, worked = traceback.format_exc(limit=-3), False
    print(json.dumps({"client": client, "call": name, "result": result, "worked": worked}), flush=True)


def call_async(client: str, name: str, ask: Callable[[], Awaitable[Any]]) -> None:
    """Ask with an asynchronous client."""

    async def awaited() -> Any:
        return await ask()

    call(client, name, lambda: asyncio.run(awaited()))


def same(found: Any, expected: Any) -> str:
    """Insist that two things are equal; say which they are."""
    if found != expected:
        raise AssertionError(f"expected {expected!r}, found {found!r}")
    return str(found)


def refused(ask: Callable[[], Any], said: str) -> str:
    """Insist that a call fails, and that its client shows the server's words."""
    try:
        ask()
    except Exception as error:
        if said in str(error):
            return f"refused: {error}"
        raise
    raise AssertionError("expected a refusal, found an answer")
