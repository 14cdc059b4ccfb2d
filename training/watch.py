"""`offramp watch RUN`: a page of a run on this machine, while it trains and afterwards.

Curves per exit, losses, time left, and the conflict of the exits where `offramp conflict` measured it. The
command reads the files of the run and asks the training nothing, so that it costs the training nothing, and a
training that runs already can be watched. Ctrl-C ends it; the training goes on.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from serving import command_line


class Arguments(BaseModel):
    """Show a run on a page of this machine, while it trains."""

    run: CliPositionalArg[Path] = Field(description="a run folder")
    port: int = Field(8765, ge=0, le=65535, description="port of 127.0.0.1; 0 for a free one")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page of the run that the command line names, until Ctrl-C."""
    return command_line.run(lambda: _watch(command_line.read(Arguments, "watch", argv)))


def _watch(arguments: Arguments) -> None:
    from training.watching.server import watch_server

    with watch_server(arguments.run, arguments.port) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_port}/ shows {arguments.run}; Ctrl-C ends it\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return  # the way to end it


if __name__ == "__main__":
    sys.exit(main())
