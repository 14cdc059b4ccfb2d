"""The poster's accuracies, where a comparison's setting is the poster's, and what differs where it is not.

The numbers are in `poster.json` beside this file, with their source. A model is the poster's where every exit
costs what the poster's does; names play no part, so that options which change nothing do not matter.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from training.config import FitConfig
from training.data.config import DataConfig

SAME_COST = 0.01
"""The poster counts one class count per table; another moves an exit's FLOPs by up to this share."""

FAMILIES = {"MSDNet-7": "msdnet", "VGG-16 SDN": "vgg"}
"""Part of an architecture's name without which its accuracies do not compare with the table's."""

NOT_COMPARED = frozenset(DataConfig.model_fields) - {"augment"} | {
    *("model", "model_option", "method", "method_option", "max_minutes", "seed", "threads", "device"),
}
"""Settings that are reported elsewhere, or do not change the result."""


@dataclass(frozen=True)
class Table:
    """One of the poster's tables, for one data set.

    Args:
        source: where the numbers are from.
        number: the table's number on the poster.
        architecture: what it calls the model.
        exit_mflops: [K].
        accuracy: per method, [K] in 0..1.
        recipe: settings of training, by the names of `training.fit`.
        recipe_source: where those are from.
        train_images: images that were trained on.
        test_images: images that were measured on.
    """

    source: str
    number: int
    architecture: str
    exit_mflops: tuple[float, ...]
    accuracy: Mapping[str, tuple[float, ...]]
    recipe: Mapping[str, Any]
    recipe_source: str
    train_images: int
    test_images: int


def poster_table(architecture: str, data_set: str, exit_flops: Sequence[int]) -> Table | None:
    """Find the table that a model's accuracies may stand beside; None where there is none.

    Args:
        architecture: the architecture's name, such as "msdnet".
        data_set: the data set's name; its last word is 10 or 100.
        exit_flops: [K], FLOPs per image.
    """
    stored = json.loads(files("training.comparison").joinpath("poster.json").read_text())
    for entry in stored["tables"]:
        columns = entry["accuracy_percent"].get(data_set.rpartition("/")[2])
        fits = FAMILIES[entry["architecture"]] in architecture.lower()
        if columns and fits and len(exit_flops) == len(entry["exit_mflops"]):
            return Table(
                stored["source"],
                entry["table"],
                entry["architecture"],
                tuple(entry["exit_mflops"]),
                {method: tuple(value / 100 for value in values) for method, values in columns.items()},
                entry["recipe"],
                stored["recipe_source"],
                stored["train_images"],
                stored["test_images"],
            )
    return None


def differences(
    table: Table, config: FitConfig, exit_flops: Sequence[int], train_images: int, test_images: int
) -> list[str]:
    """Return what sets a run apart from the poster's, one phrase each; empty where nothing is known to.

    Args:
        table: the table beside which the run stands.
        config: the run's settings.
        exit_flops: [K], FLOPs per image.
        train_images: images that it was trained on.
        test_images: images that it was measured on.
    """
    found = []
    pairs = zip(exit_flops, table.exit_mflops, strict=True)
    if any(abs(flops / 1e6 - theirs) > SAME_COST * theirs for flops, theirs in pairs):
        found.append(
            f"the model's last exit costs {exit_flops[-1] / 1e6:.1f} MFLOPs "
            f"(poster: {table.exit_mflops[-1]:.1f})"
        )
    for name, field in FitConfig.model_fields.items():
        value, expected = getattr(config, name), table.recipe.get(name, field.default)
        # A setting left open is settled by the data set, as the recipe has it.
        if name not in NOT_COMPARED and value is not None and value != expected:
            found.append(f"{name.replace('_', ' ')} {_text(value)} (poster: {_text(expected)})")
    for what, ours, theirs in (
        ("training", train_images, table.train_images),
        ("test", test_images, table.test_images),
    ):
        if ours != theirs:
            found.append(f"{ours:,} {what} images (poster: {theirs:,})")
    return found


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
