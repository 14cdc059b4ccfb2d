"""Whether memory stays flat: many rows in requests of every size, and the server's memory along the way."""

import io
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .client import Connection, request_bytes
from .processes import Running, resident_bytes

SIZES = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
CALLERS = 4


@dataclass(frozen=True)
class Growth:
    """Resident bytes after each twentieth of the rows, the first value being from before."""

    rows: int
    resident_bytes: list[int]

    @property
    def ratio(self) -> float:
        """End over after a tenth, by when every buffer has had its largest batch."""
        return self.resident_bytes[-1] / self.resident_bytes[2]


def grow(
    server: Running, images: npt.NDArray[np.uint8], rows: int, budgets: Sequence[str], seed: int = 0
) -> Growth:
    """Send `rows` images in requests of mixed sizes and budgets from several callers at once.

    Args:
        server: ours.
        images: uint8 [N, H, W, 3], of which each request takes the first so many.
        rows: images in all.
        budgets: drawn from; cheap ones mostly, since it is the number of rows that counts.
        seed: of the draws.

    Raises:
        RuntimeError: a request failed.
    """
    draw = random.Random(seed)
    bodies = {size: _npy(images[:size]) for size in SIZES}
    with ThreadPoolExecutor(CALLERS) as pool:
        connections = [Connection(server.port) for _ in range(CALLERS)]
        measured = [resident_bytes(server.pid)]
        for _ in range(20):
            shares = [[] for _ in connections]  # type: list[list[bytes]]
            left, turn = rows // 20, 0
            while left > 0:
                size = draw.choice([size for size in SIZES if size <= max(left, 1)])
                path = f"/classify?budget={draw.choice(budgets)}"
                shares[turn % CALLERS].append(request_bytes(path, bodies[size], "application/x-npy"))
                left, turn = left - size, turn + 1
            list(pool.map(_send_all, connections, shares))
            measured.append(resident_bytes(server.pid))
        for connection in connections:
            connection.close()
    return Growth(rows, measured)


def _send_all(connection: Connection, requests: list[bytes]) -> None:
    for request in requests:
        reply = connection.send(request)
        if reply.status != 200:
            raise RuntimeError(f"a request failed: {reply.status} {reply.body[:300]!r}")


def _npy(images: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, images)
    return stream.getvalue()
