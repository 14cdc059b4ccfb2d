"""torchvision's classifiers by name, for any number of classes and any image size they can take."""

import difflib
from collections.abc import Sequence
from typing import Any

import torchvision
from torch import nn
from torchvision.models.vision_transformer import interpolate_embeddings

from training.errors import ConfigError


def names() -> list[str]:
    """Return the names of torchvision's image classifiers."""
    return list(torchvision.models.list_models(module=torchvision.models))


def check_name(name: str) -> None:
    """Refuse a name that torchvision has no classifier of.

    Raises:
        ConfigError: with the names that come closest, or all of them.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=5)
        known = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(names())}"
        raise ConfigError(f"torchvision {torchvision.__version__} has no classifier {name!r}; {known}")


def build(name: str, classes: int, image_size: int) -> nn.Module:
    """Return the network with untrained weights."""
    family = name.partition("_")[0]
    more: dict[str, Any] = {}
    if family == "vit":
        more = {"image_size": image_size}
    elif family == "maxvit":
        more = {"input_size": (image_size, image_size)}
    elif family in ("googlenet", "inception"):
        # Their auxiliary classifiers are outputs of another kind; exits take their place.
        more = {"aux_logits": False, "init_weights": True}
    try:
        net: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **more)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"torchvision:{name} cannot be built for {image_size}×{image_size} pixels: {error}"
        ) from error
    return net


def load_pretrained(name: str, net: nn.Module) -> tuple[Sequence[float], Sequence[float]]:
    """Copy torchvision's best ImageNet weights into `net`; its classifier keeps its own where classes differ.

    Returns:
        The channel means and standard deviations that the weights were trained with, on the scale 0..1.

    Raises:
        ConfigError: there are no such weights, or they can neither be found nor downloaded.
    """
    weights = getattr(torchvision.models.get_model_weights(name), "DEFAULT", None)
    if weights is None:
        raise ConfigError(f"torchvision has no pretrained weights for {name}; leave --pretrained out")
    try:
        trained = torchvision.models.get_model(name, weights=weights)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"the pretrained weights {weights} cannot be had ({error}); connect to the network, or put the "
            f"file of {weights.url} into hub/checkpoints below TORCH_HOME (~/.cache/torch by default)"
        ) from error
    state, own = trained.state_dict(), net.state_dict()
    if "encoder.pos_embedding" in state:
        state = interpolate_embeddings(net.image_size, net.patch_size, state)
    net.load_state_dict(
        {key: value for key, value in state.items() if key in own and own[key].shape == value.shape},
        strict=False,
    )
    if hasattr(trained, "transform_input"):
        net.transform_input = trained.transform_input
    published = weights.transforms()
    return published.mean, published.std
