"""`offramp demo`: train, evaluate, export and serve a small model, and ask it under four budgets."""

import sys
import time
from collections.abc import Sequence

from serving import command_line
from training.demo.config import DemoConfig


class Arguments(DemoConfig):
    """Train, export, serve and ask a small model."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train, evaluate, export, serve and ask; 0 only if all of it went well."""
    return command_line.run(lambda: _demo(command_line.read(Arguments, "demo", argv)))


def _demo(arguments: Arguments) -> None:
    from rich.console import Console

    from training.demo.road import ask, check, make_bundle, table_of

    console = Console()
    begun = time.monotonic()
    make_bundle(arguments, console)
    summaries = ask(arguments, console)
    console.print(table_of(summaries))
    check(summaries)
    console.print(
        f"All of it took {time.monotonic() - begun:.0f} s. Serve the model again, on port 8000, with\n"
        f"{command_line.program('serve')} --models {arguments.bundle}",
        soft_wrap=True,
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
