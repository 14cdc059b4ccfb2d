"""What a model costs at each exit, in the units and to the digits of the tables it is held against."""

import torch

from training.models.cost_table import describe
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture


def on_meta(preset: str, classes: int, **options: object) -> MultiExitModel:
    """Build a model of shapes only."""
    with torch.device("meta"):
        return architecture(preset, options).model(classes)


def mflops(model: MultiExitModel, key: str = "flops") -> list[float]:
    """FLOPs of leaving at each exit, in millions, or another count by its key in the description."""
    return [round(row[key] / 1e6, 2) for row in describe(model)["exits"]]


def mparams(model: MultiExitModel, digits: int = 3) -> list[float]:
    """Parameters up to each exit, in millions."""
    return [round(row["params"] / 1e6, digits) for row in describe(model)["exits"]]
