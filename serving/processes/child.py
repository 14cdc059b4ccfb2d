"""The program of a child: `python -m serving.processes.child DESCRIPTOR [CORES]`, which the parent runs."""

import os
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Serve what the parent says, at the other end of a socket, until it says stop or has gone.

    Args:
        arguments: the descriptor of the socket, and the numbers of the cores to stay on, with commas.

    Returns:
        The exit status: 0 after a graceful stop, 2 where the models could not be loaded.
    """
    # The parent alone says when to stop: a signal to the whole group would otherwise come twice.
    for each in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, each):
            signal.signal(getattr(signal, each), signal.SIG_IGN)
    if len(arguments) > 1 and hasattr(os, "sched_setaffinity"):
        # Before anything is imported that counts cores or starts threads.
        os.sched_setaffinity(0, {int(core) for core in arguments[1].split(",")})
    from serving.processes.computing import run

    return run(int(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
