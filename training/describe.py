"""`offramp describe`: FLOPs and parameters of a model at each of its exits."""

import json
import sys
from collections.abc import Sequence

from pydantic import Field

from serving import command_line
from training.models.config import ModelConfig


class Arguments(ModelConfig):
    """Print FLOPs and parameters per exit."""

    classes: int = Field(10, ge=2, description="number of classes")
    as_json: bool = Field(False, alias="json", description="print JSON instead of a table")


def main(argv: Sequence[str] | None = None) -> int:
    """Print a model's FLOPs and parameters, exit by exit."""
    return command_line.run(lambda: _describe(command_line.read(Arguments, "describe", argv)))


def _describe(arguments: Arguments) -> None:
    import torch
    from rich.console import Console
    from rich.table import Table

    from training.models.cost_table import describe

    with torch.device("meta"):  # shapes are enough: nothing is allocated or computed
        model = arguments.architecture().untrained().model(arguments.classes)
    result = describe(model)
    if arguments.as_json:
        json.dump(result, sys.stdout)
        sys.stdout.write("\n")
        return
    columns = {
        "MFLOPs": "flops",
        "params M": "params",
        "body MFLOPs": "body_flops",
        "head MFLOPs": "head_flops",
        "MACs M": "multiply_adds",
        "path MACs M": "path_multiply_adds",
    }
    table = Table("exit", *columns, title=arguments.model)
    for number, row in enumerate(result["exits"], start=1):
        digits = (f"{row[key] / 1e6:.{3 if key == 'params' else 2}f}" for key in columns.values())
        table.add_row(str(number), *digits)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
