"""`python -m training.describe`: FLOPs and parameters of a model at each of its exits."""

import json
import sys
from collections.abc import Sequence

import torch
from pydantic import Field
from rich.console import Console
from rich.table import Table

from training import cli
from training.flops import exit_flops, segment_flops
from training.models.config import ModelConfig
from training.models.multi_exit import MultiExitModel


class DescribeConfig(ModelConfig):
    """What to describe."""

    classes: int = Field(10, ge=2, description="number of classes")
    json_output: bool = Field(False, alias="json", description="print JSON instead of a table")


def describe(model: MultiExitModel) -> dict[str, list[dict[str, int]]]:
    """Return FLOPs (per image, earlier heads included) and parameters (of all segments so far) per exit."""
    counts = segment_flops(model)
    # A module's parameters are each counted once, even where segments share them.
    parameters = (sum(p.numel() for p in model.segments[: k + 1].parameters()) for k in range(model.exits))
    return {
        "exits": [
            {"flops": flops, "params": params, "body_flops": count.body, "head_flops": count.head}
            for flops, params, count in zip(exit_flops(counts), parameters, counts, strict=True)
        ]
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or JSON with plain numbers."""

    def command() -> None:
        config = cli.parse("FLOPs and parameters per exit.", DescribeConfig, argv)
        with torch.device("meta"):  # shapes are enough: nothing is allocated or computed
            model = config.architecture().untrained().model(config.classes)
        result = describe(model)
        if config.json_output:
            json.dump(result, sys.stdout)
            sys.stdout.write("\n")
            return
        table = Table("exit", "MFLOPs", "params M", "body MFLOPs", "head MFLOPs", title=config.model)
        for number, row in enumerate(result["exits"], start=1):
            millions = (row[key] / 1e6 for key in ("flops", "params", "body_flops", "head_flops"))
            flops, params, body, head = millions
            table.add_row(str(number), f"{flops:.2f}", f"{params:.3f}", f"{body:.2f}", f"{head:.2f}")
        Console().print(table)

    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())
