"""`offramp adopt NETWORK --dataset … --out BUNDLE`: early exits for a trained network.

The network stays as it is; heads on the way learn to answer as it does (docs/adopting.md).
"""

import sys
from collections.abc import Sequence

from serving import command_line
from training.adopting.config import AdoptArguments as Arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Adopt a network and print what its exits buy."""
    return command_line.run(lambda: _adopt(command_line.read(Arguments, "adopt", argv)))


def _adopt(arguments: Arguments) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from training.adopting import adoption, report
    from training.adopting.bars import Bars

    console = Console()
    with Progress(console=console) as progress:
        done = adoption.build(
            arguments.network,
            arguments.out,
            arguments,
            force=arguments.force,
            tell=console.print,
            show=Bars(progress),
        )
    report.write(done, arguments.json_file, console)
    console.print(f"wrote {arguments.out}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
