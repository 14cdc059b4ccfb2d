"""Any classifier as a multi-exit model: cut at named layers, a head per cut, its own classifier last.

`torchvision:NAME` is a classifier of torchvision. `package.module:factory` is any function that takes
`num_classes` (and `image_size`, where it has such a parameter) and returns a module that maps float images
[N, 3, H, W] to logits.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from training.errors import ConfigError
from training.models import torchvision_nets
from training.models.cutting import split_at_layers
from training.models.fields import Names, Positive
from training.models.multi_exit import MultiExitModel
from training.models.tracing import trace


class BackboneOptions(BaseModel):
    """Where the exits of a network are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exits: Names = Field((), description="paths of the layers that an early exit follows, in any order")
    image_size: Positive = Field(224, description="height and width in pixels")


class TorchvisionOptions(BackboneOptions):
    """Where the exits of a torchvision classifier are, and which weights it starts from."""

    pretrained: bool = Field(False, description="start from torchvision's ImageNet weights")


def torchvision_builder(name: str) -> Callable[..., MultiExitModel]:
    """Return the builder of a torchvision classifier.

    Raises:
        ConfigError: torchvision has no such classifier.
    """
    torchvision_nets.check_name(name)

    def build(
        options: TorchvisionOptions, classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> MultiExitModel:
        with torch.device("cpu"):  # some of torchvision's constructors compute their widths with tensors
            net = torchvision_nets.build(name, classes, options.image_size)
            if options.pretrained:
                # The images are normalised as they were when the weights were trained.
                mean, std = torchvision_nets.load_pretrained(name, net)
            return _with_exits(net, f"torchvision:{name}", options, classes, mean, std)

    return _where_wanted(build)


def factory_builder(place: str) -> Callable[..., MultiExitModel]:
    """Return the builder of what the factory at `package.module:factory` makes.

    Raises:
        ConfigError: there is no such function, or it cannot be called with `num_classes`.
    """
    factory = _imported(place)
    try:
        parameters = inspect.signature(factory).parameters
        inspect.signature(factory).bind_partial(num_classes=2)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{place}: expected a function that takes num_classes, found {factory!r}"
        ) from error

    def build(
        options: BackboneOptions, classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> MultiExitModel:
        sized = {"image_size": options.image_size} if "image_size" in parameters else {}
        with torch.device("cpu"):
            net = factory(num_classes=classes, **sized)
            if not isinstance(net, nn.Module):
                raise ConfigError(
                    f"{place}: expected it to return a torch.nn.Module, found {type(net).__name__}"
                )
            return _with_exits(net, place, options, classes, mean, std)

    return _where_wanted(build)


def _with_exits(
    net: nn.Module,
    name: str,
    options: BackboneOptions,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> MultiExitModel:
    segments = split_at_layers(trace(net, options.image_size, name), options.exits, classes)
    return MultiExitModel(segments, mean, std, options.image_size)


def _where_wanted(build: Callable[..., MultiExitModel]) -> Callable[..., MultiExitModel]:
    """Move what was built on the CPU to the device in whose context it was asked for."""

    def built(*args: object) -> MultiExitModel:
        return build(*args).to(torch.get_default_device())

    return built


def _imported(place: str) -> Callable[..., object]:
    module_name, _, attribute = place.partition(":")
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)  # as `python -m` has it; last, so that no installed package is hidden
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        raise ConfigError(
            f"--model {place}: cannot import {module_name!r} ({error}); expected package.module:factory, "
            "with the package installed or in the current folder"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise ConfigError(
            f"--model {place}: expected a function {attribute!r} in {module_name}, found {found!r}"
        )
    function: Callable[..., object] = found
    return function
