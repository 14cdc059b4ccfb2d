"""Reads a file that somebody else wrote, whatever it is."""

import os
import stat
from pathlib import Path


def read_plain(path: Path, most_bytes: int) -> bytes:
    """Read a plain file of a reasonable size, without waiting for anybody to write it.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is something else, such as a FIFO, or too large.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("expected a regular file")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(most_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > most_bytes:
        raise ValueError(f"expected at most {most_bytes} bytes")
    return data
