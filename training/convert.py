"""`offramp convert CHECKPOINT --dataset … --out RUN`: a run of a published MSDNet checkpoint.

The run exports, evaluates and starts others like one that was trained here (docs/converting.md).
"""

import sys
from collections.abc import Sequence

from serving import command_line
from training.converting.config import ConvertConfig as Arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Convert a checkpoint and say what comes next."""
    return command_line.run(lambda: _convert(command_line.read(Arguments, "convert", argv)))


def _convert(arguments: Arguments) -> None:
    from training.converting.convert import convert

    run = convert(arguments)
    sys.stdout.write(
        f"wrote {run.folder}: every tensor of {arguments.checkpoint.name} has its place; "
        f"{command_line.program('export')} is next\n"
    )


if __name__ == "__main__":
    sys.exit(main())
