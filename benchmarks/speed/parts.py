"""The parts of the benchmark by name: each measures its own, and what that says of the targets."""

from collections.abc import Callable

from .engine_parts import engine, parts_of_a_request
from .server_parts import http
from .state import Bench
from .waiting_parts import flat, idle, lone, tail

PARTS: dict[str, Callable[[Bench], None]] = {
    "engine": engine,
    "http": http,
    "lone": lone,
    "tail": tail,
    "idle": idle,
    "costs": parts_of_a_request,
    "memory": flat,
}
