"""`offramp advise NETWORK … --dataset … --out FOLDER`: which way of serving trained networks is best here.

Each network alone, cascades of them and early exits are built, served and asked over HTTP (docs/advise.md).
"""

import sys
from collections.abc import Sequence

from serving import command_line
from training.advising.config import AdviseArguments as Arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Build, measure and compare the alternatives."""
    return command_line.run(lambda: _advise(command_line.read(Arguments, "advise", argv)))


def _advise(arguments: Arguments) -> None:
    from rich.console import Console

    from training.advising import advice

    advice.advise(list(arguments.networks), arguments.out, arguments, Console(), force=arguments.force)


if __name__ == "__main__":
    sys.exit(main())
