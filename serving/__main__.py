"""`offramp serve`, or `python -m serving`: serve bundles over HTTP."""

import sys
from collections.abc import Sequence

from serving import command_line
from serving.settings import Settings as Arguments
from serving.settings import read_settings
from serving.telemetry.streams import open_missing

__all__ = ["Arguments", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until it is stopped.

    Args:
        argv: the command line; the process's own where None.

    Returns:
        The exit status: 0 after a graceful stop, 2 where it could not start, 130 if interrupted before that.
    """

    def command() -> int:
        settings = read_settings(argv)
        from serving.serve import serve  # only now: `--help` needs no ONNX Runtime

        return serve(settings)

    open_missing()
    return command_line.run(command)


if __name__ == "__main__":
    sys.exit(main())
