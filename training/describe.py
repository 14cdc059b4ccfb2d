"""`python -m training.describe`: FLOPs and parameters of a model at each of its exits."""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import accumulate

import torch
from pydantic import Field
from rich.console import Console
from rich.table import Table

from training import cli
from training.models.config import ModelConfig
from training.models.flops import exit_flops, path_multiply_adds, segment_flops
from training.models.multi_exit import MultiExitModel


class DescribeConfig(ModelConfig):
    """What to describe."""

    classes: int = Field(10, ge=2, description="number of classes")
    json_output: bool = Field(False, alias="json", description="print JSON instead of a table")


def describe(model: MultiExitModel) -> dict[str, list[dict[str, int]]]:
    """Return what each exit costs one image, and its parameters.

    Per exit: `flops`, earlier heads included; `params`, of all segments so far; `body_flops` and `head_flops`
    of its own segment; `multiply_adds`, the convolutions and matrix products among `flops`; and
    `path_multiply_adds`, those that its own logits depend on.
    """
    counts = segment_flops(model)
    multiply_adds = accumulate(count.multiply_adds for count in counts)
    # A module's parameters are each counted once, even where segments share them.
    parameters = (sum(p.numel() for p in model.segments[: k + 1].parameters()) for k in range(model.exits))
    return {
        "exits": [
            {
                "flops": flops,
                "params": params,
                "body_flops": count.body,
                "head_flops": count.head,
                "multiply_adds": products,
                "path_multiply_adds": path,
            }
            for flops, params, count, products, path in zip(
                exit_flops(counts), parameters, counts, multiply_adds, path_multiply_adds(model), strict=True
            )
        ]
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return cli.parser_of("FLOPs and parameters per exit.", DescribeConfig)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a model's FLOPs and parameters, exit by exit."""
    return cli.main(parser(), _command, argv)


def _command(given: argparse.Namespace) -> None:
    config = cli.read_fields(DescribeConfig, given)
    with torch.device("meta"):  # shapes are enough: nothing is allocated or computed
        model = config.architecture().untrained().model(config.classes)
    result = describe(model)
    if config.json_output:
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
    table = Table("exit", *columns, title=config.model)
    for number, row in enumerate(result["exits"], start=1):
        digits = (f"{row[key] / 1e6:.{3 if key == 'params' else 2}f}" for key in columns.values())
        table.add_row(str(number), *digits)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
