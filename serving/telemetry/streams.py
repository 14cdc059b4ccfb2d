"""Standard streams that may be closed, broken or full: none of it is a reason not to serve."""

import os


def open_missing() -> None:
    """Put /dev/null in the place of standard streams that are closed.

    The next file that is opened would get the number of one: a client's connection could become standard
    error, and be sent what libraries write there.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one


def announce(line: str) -> None:
    """Write a line to standard output, if anybody can be reached there."""
    data = line.encode() + b"\n"
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        return
