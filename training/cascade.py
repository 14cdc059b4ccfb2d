"""`offramp cascade SMALL LARGE … --dataset … --out BUNDLE`: trained networks, one after the other.

The small network answers what it is sure of, the larger ones the rest; nothing is trained (docs/adopting.md).
"""

import sys
from collections.abc import Sequence

from serving import command_line
from training.adopting.config import CascadeArguments as Arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Make a cascade and print what it buys."""
    return command_line.run(lambda: _cascade(command_line.read(Arguments, "cascade", argv)))


def _cascade(arguments: Arguments) -> None:
    from rich.console import Console

    from training.adopting import cascading, report

    console = Console()
    done = cascading.build(
        list(arguments.networks), arguments.out, arguments, force=arguments.force, tell=console.print
    )
    report.write(done, arguments.json_file, console)
    console.print(f"wrote {arguments.out}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
