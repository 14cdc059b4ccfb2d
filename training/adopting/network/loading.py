"""Where networks come from: an ONNX file, or a torch module that is exported in evaluation mode first."""

import importlib
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.adopting.config import EXPECTED
from training.adopting.network import reading
from training.adopting.network.network import Network, network, read_network
from training.errors import AdoptError, ConfigError
from training.models.architectures import torchvision_nets
from training.models.graphs.free_batch import free_batch
from training.models.state_file import state_dict

RANDOM = "random"
"""In place of weights: none, to try out whether a network can be used at all."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_OPSET = 20
_IMAGE_SIZE = 224
_CHANNELS = 3


def load_network(text: str, image_size: int | None = None) -> Network:
    """Load a trained classifier.

    Args:
        text: `EXPECTED` says what may stand here.
        image_size: height and width in pixels, where the network leaves them open.

    Raises:
        AdoptError: it cannot be read, exported or cut.
        ConfigError: no such module, factory or weights.
    """
    kind, _, rest = text.partition(":")
    if not rest or text.endswith(".onnx") or Path(text).exists():
        if not text.endswith(".onnx") and not Path(text).is_file():
            raise ConfigError(f"{text}: expected {EXPECTED}")
        return read_network(Path(text), image_size)
    name, _, weights = rest.partition("@")
    builders = {"torchvision": _torchvision, "timm": _timm, "hf": _transformers}
    build = builders.get(kind, _factory)
    if build is _factory:
        name = text.partition("@")[0]
    net, facts = build(name, weights or None, image_size)
    size = image_size or facts.pop("image_size", None) or _IMAGE_SIZE
    facts.pop("image_size", None)
    return replace(network(exported(name.replace(":", "_").replace("/", "_"), net, size)), **facts)


def exported(name: str, net: nn.Module, image_size: int) -> reading.Onnx:
    """Export a module in evaluation mode, with a free batch if that goes and for single images if not.

    Raises:
        AdoptError: torch cannot export it.
    """
    net = net.eval().float()
    free = (free_batch(),)
    problems = []
    for batch, dynamic in ((2, free), (1, None)):
        images = torch.zeros(batch, _CHANNELS, image_size, image_size)
        try:
            with torch.no_grad(), _silently():
                program = torch.onnx.export(
                    net, (images,), dynamo=True, verbose=False, dynamic_shapes=dynamic, opset_version=_OPSET
                )
        except Exception as error:  # whatever a foreign module raises, torch cannot export it
            problems.append(
                _COLOURS.sub("", str(error)).strip().splitlines()[0]
                if str(error).strip()
                else type(error).__name__
            )
            continue
        if program is not None:
            return reading.checked(name, program.model_proto)
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first.in_channels != _CHANNELS:
        raise _other_channels(name, first.in_channels)
    raise AdoptError(
        f"{name}: torch {torch.__version__} cannot export it to ONNX for {image_size}×{image_size} pixels "
        f"({problems[-1]}); export it yourself and give the file"
    )


def _other_channels(name: str, found: int) -> AdoptError:
    return AdoptError(
        f"{name}: expected a network of images of three channels (RGB); found one of {found}: the server "
        "decodes pictures to RGB"
    )


class _silently:  # noqa: N801 - reads as a phrase
    """Keep the exporter's own log and warnings, which name its inner workings, from the user's terminal."""

    def __enter__(self) -> None:
        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        warnings.simplefilter("ignore")
        self._disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *problem: Any) -> None:
        logging.disable(self._disabled)
        self._caught.__exit__(*problem)


Built = tuple[nn.Module, dict[str, Any]]


def _torchvision(name: str, weights: str | None, image_size: int | None) -> Built:
    torchvision_nets.check_name(name)
    size = image_size or _IMAGE_SIZE
    if weights is None:
        net = torchvision_nets.build(name, _IMAGENET_CLASSES, size)
        mean, std = torchvision_nets.load_pretrained(name, net)
        return net, {"normalise": _said(mean, std)}
    if weights == RANDOM:
        return torchvision_nets.build(name, _IMAGENET_CLASSES, size), {}
    state = state_dict(Path(weights))
    return _filled(torchvision_nets.build(name, _classes_of(state, weights), size), state, weights), {}


def _timm(name: str, weights: str | None, image_size: int | None) -> Built:
    timm = _library("timm", "timm")
    state = None if weights in (None, RANDOM) else state_dict(Path(str(weights)))
    more = {} if state is None else {"num_classes": _classes_of(state, str(weights))}
    if image_size is not None and "img_size" in inspect.signature(timm.model_entrypoint(name)).parameters:
        more["img_size"] = image_size
    try:
        net = timm.create_model(name, pretrained=weights is None, **more)
    except Exception as error:  # timm raises what its builders and the Hub raise
        raise ConfigError(f"timm:{name} cannot be built: {error}") from error
    facts = timm.data.resolve_model_data_config(net)
    found = {"normalise": _said(facts["mean"], facts["std"]), "image_size": facts["input_size"][-1]}
    return (net if state is None else _filled(net, state, str(weights))), found


def _transformers(name: str, weights: str | None, image_size: int | None) -> Built:
    transformers = _library("transformers", "hf")
    where = Path(name).expanduser()
    local = where.is_dir()
    try:
        if weights == RANDOM:
            settings = transformers.AutoConfig.from_pretrained(str(where) if local else name)
            net = transformers.AutoModelForImageClassification.from_config(settings)
        else:
            net = transformers.AutoModelForImageClassification.from_pretrained(
                str(where) if local else name, local_files_only=local
            )
    except Exception as error:  # transformers raises what its loaders and the Hub raise
        raise ConfigError(
            f"hf:{name}: expected a folder or a Hub name of an image classifier "
            f"({str(error).splitlines()[0]})"
        ) from error
    _refuse_other_tasks(name, net.config)
    labels = net.config.id2label
    found: dict[str, Any] = {"class_names": tuple(str(labels[index]) for index in sorted(labels))}
    size = getattr(net.config, "image_size", None)
    if isinstance(size, int):
        found["image_size"] = size
    try:
        reads = transformers.AutoImageProcessor.from_pretrained(str(where) if local else name)
        found["normalise"] = _said(reads.image_mean, reads.image_std)
    except Exception:  # a folder without a processor: --normalise says it, or the labels
        logging.getLogger(__name__).debug("no image processor in %s", name)
    return Logits(net), found


def _refuse_other_tasks(name: str, config: Any) -> None:
    """Refuse networks of transformers whose answer is no choice among classes, or that see no RGB.

    Raises:
        AdoptError: it is one.
    """
    problem = getattr(config, "problem_type", None)
    if problem not in (None, "single_label_classification"):
        several = " (several labels for one image)" if problem == "multi_label_classification" else ""
        raise AdoptError(
            f"hf:{name}: expected a choice among classes of which one is right; found the problem_type "
            f"{problem!r}{several}"
        )
    channels = getattr(config, "num_channels", None)
    if isinstance(channels, int) and channels != _CHANNELS:
        raise _other_channels(f"hf:{name}", channels)


def _factory(place: str, weights: str | None, image_size: int | None) -> Built:
    module_name, _, attribute = place.partition(":")
    try:
        function: Callable[..., nn.Module] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{place}: expected {EXPECTED}; {error}") from error
    known = inspect.signature(function).parameters
    values: dict[str, Any] = {}
    if image_size is not None and "image_size" in known:
        values["image_size"] = image_size
    state = None if weights in (None, RANDOM) else state_dict(Path(str(weights)))
    if state is not None and "num_classes" in known:
        values["num_classes"] = _classes_of(state, str(weights))
    try:
        net = function(**values)
    except Exception as error:  # the user's own code
        raise ConfigError(f"{place}: the factory failed: {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"{place}: expected a factory of torch modules; found one of {type(net).__name__}")
    return (net if state is None else _filled(net, state, str(weights))), {}


class Logits(nn.Module):
    """A transformers classifier that answers with its logits alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, C] of normalised images [N, 3, H, W]."""
        logits: Tensor = self.net(pixel_values=images).logits
        return logits


def _filled(net: nn.Module, state: Mapping[str, Tensor], weights: str) -> nn.Module:
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"the weights in {weights} are another network's: {reason[:300]}") from error
    return net


def _classes_of(state: Mapping[str, Tensor], weights: str) -> int:
    biases = [value for key, value in state.items() if key.endswith("bias") and value.ndim == 1]
    if not biases:
        raise ConfigError(f"{weights}: no bias to read the number of classes from; give your own factory")
    return len(biases[-1])


def _said(mean: Any, std: Any) -> str:
    return ",".join(map(str, mean)) + ":" + ",".join(map(str, std))


def _library(module: str, kind: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{kind}: needs {module.partition('.')[0]}, which is not installed: pip install 'offramp[adopt]'"
        ) from error


_IMAGENET_CLASSES = 1000
