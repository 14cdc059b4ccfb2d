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
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from training.errors import ConfigError
from training.models.architectures import torchvision_nets
from training.models.conv_head import ConvExitHead, convolvable
from training.models.exit_head import ExitHead
from training.models.fields import Names, Positive
from training.models.graphs.cutting import HeadMaker, split_at_layers
from training.models.graphs.export_trace import trace_exported
from training.models.graphs.failing_line import failing_line
from training.models.graphs.in_evaluation import keep_in_evaluation
from training.models.graphs.tracing import Trace, trace
from training.models.multi_exit import MultiExitModel


class BackboneOptions(BaseModel):
    """Where the exits of a network are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exits: Names = Field((), description="paths of the layers that an early exit follows, in any order")
    image_size: Positive = Field(224, description="height and width in pixels")
    head: Literal["mean", "conv"] = Field(
        "mean",
        description="head of each early exit: the mean over places and a linear layer, or two 3×3 "
        "convolutions before it (on square maps; other layers get the first kind)",
    )
    head_channels: Positive = Field(32, description="channels of a convolutional head")
    evaluation: bool = Field(
        False,
        description="keep the network, all but the new heads, in evaluation mode: BatchNorm keeps its "
        "statistics and nothing is dropped",
    )


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
    """Return the builder of what a factory, `package.module:factory`, makes; building imports it."""

    def build(
        options: BackboneOptions, classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> MultiExitModel:
        with torch.device("cpu"):
            net = _made(place, classes, options.image_size)
            return _with_exits(net, place, options, classes, mean, std)

    return _where_wanted(build)


def _made(place: str, classes: int, image_size: int) -> nn.Module:
    """Return the network that a factory makes.

    Raises:
        ConfigError: there is no such function, it cannot be called with `num_classes`, or it fails.
    """
    factory = _imported(place)
    try:
        parameters = inspect.signature(factory).parameters
        inspect.signature(factory).bind_partial(num_classes=2)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{place}: expected a function that takes num_classes, found {factory!r}"
        ) from error
    sized = {"image_size": image_size} if "image_size" in parameters else {}
    try:
        net = factory(num_classes=classes, **sized)
    except Exception as error:  # the user's own code
        raise ConfigError(
            f"{place}: the factory failed{failing_line(error)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"{place}: expected it to return a torch.nn.Module, found {type(net).__name__}")
    return net


def _with_exits(
    net: nn.Module,
    name: str,
    options: BackboneOptions,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> MultiExitModel:
    found = _traced(net, name, options)
    segments = split_at_layers(found, options.exits, classes, _head_maker(options))
    if options.evaluation:
        keep_in_evaluation(segments)
    return MultiExitModel(segments, mean, std, options.image_size)


def _head_maker(options: BackboneOptions) -> HeadMaker:
    def conv(shape: Sequence[int], classes: int) -> nn.Module:
        if convolvable(shape):
            return ConvExitHead(shape, classes, options.head_channels)
        return ExitHead(shape, classes)

    return conv if options.head == "conv" else ExitHead


def _traced(net: nn.Module, name: str, options: BackboneOptions) -> Trace:
    """Trace by torch.fx; where that fails and the network stays in evaluation mode, by torch.export."""
    try:
        return trace(net, options.image_size, name, evaluation=options.evaluation)
    except ConfigError as error:
        if not options.evaluation:
            raise
        try:
            return trace_exported(net, options.image_size, name)
        except ConfigError as second:
            raise ConfigError(f"{error}; {str(second).removeprefix(f'{name}: ')}") from second


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
