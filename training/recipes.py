"""Recipes: settings of `training.fit` that belong together, by name; a flag given beside one wins.

`fast` is for few epochs. It follows airbench (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
arXiv:2404.00498) where its parts carry over to any network and method; docs/recipe.md names what differs.
"""

from collections.abc import Callable
from typing import Any

Recipe = Callable[[str], dict[str, Any]]
"""Returns the settings for a method."""


def fast(method: str) -> dict[str, Any]:
    """Return the settings for few epochs.

    Args:
        method: its name; weights are averaged by the step, which a method whose steps lead elsewhere has not.

    Raises:
        ConfigError: no such method.
    """
    from training.methods import method_entry  # only now: `--help` needs no torch

    settings = {
        "batch_size": 128,
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-5,
        "decoupled_weight_decay": True,
        "schedule": "triangular",
        "label_smoothing": 0.1,
        "whiten": True,
        "alternate_flip": True,
        "border": "reflect",
        "precision": "bf16" if bf16_pays() else "float32",
    }
    if method_entry(method).stepwise:
        settings["weight_ema"] = 0.995
    return settings


def bf16_pays() -> bool:
    """Tell whether this machine multiplies in bfloat16; elsewhere it is emulated, and slower than float32."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


RECIPES: dict[str | None, Recipe] = {"fast": fast}
