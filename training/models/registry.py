"""The architectures, by name: a plain dict of presets, each an option model and a builder.

Beside the presets, any classifier of torchvision (`torchvision:resnet50`) or of one's own
(`package.module:factory`) becomes an architecture by cutting it at named layers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from training.errors import ConfigError
from training.models.ladder import LadderOptions, ladder
from training.models.msdnet import MSDNetOptions, msdnet
from training.models.multi_exit import MultiExitModel
from training.models.sdn_resnet import SDNResNetOptions, sdn_resnet
from training.models.sdn_vgg import SDNVGGOptions, sdn_vgg
from training.option_parsing import settle

Builder = Callable[[Any, int, Sequence[float], Sequence[float]], MultiExitModel]


@dataclass(frozen=True)
class Preset:
    """A named configuration of an architecture."""

    architecture: str
    build: Builder
    options: type[BaseModel]
    values: Mapping[str, Any] = field(default_factory=dict)


def _msdnet(**values: Any) -> Preset:
    return Preset("msdnet", msdnet, MSDNetOptions, values)


MODELS: dict[str, Preset] = {
    # The poster's MSDNet-7, 340 MFLOPs at the last exit.
    "msdnet": _msdnet(),
    # The same with growth 6: the better trade, 76 MFLOPs.
    "msdnet-growth6": _msdnet(growth=6),
    # Small enough to train on a laptop.
    "msdnet-small": _msdnet(blocks=5, base=3, step=2, channels=8, growth=8, head_channels=64),
    "msdnet-tiny": _msdnet(blocks=3, base=2, step=1, channels=4, growth=4, head_channels=32),
    "msdnet-imagenet": _msdnet(
        **{"blocks": 5, "base": 4, "step": 4, "channels": 32, "growth": 16, "stem": "imagenet"},
        **{"grow_factors": (1, 2, 4, 4), "bottleneck_factors": (1, 2, 4, 4)},
        **{"head_channels": None, "image_size": 224},
    ),
    # Few wide layers, for CPUs: the network to start with on small images.
    "ladder": Preset("ladder", ladder, LadderOptions),
    # The poster's VGG-16 SDN, 314 MFLOPs at the last exit.
    "sdn-vgg16": Preset("sdn-vgg", sdn_vgg, SDNVGGOptions),
    "sdn-resnet56": Preset("sdn-resnet", sdn_resnet, SDNResNetOptions),
}

TORCHVISION = "torchvision:"


@dataclass(frozen=True)
class Architecture:
    """A preset with its options settled: everything that decides a model's shape but the classes."""

    name: str
    options: BaseModel
    build: Builder

    @property
    def image_size(self) -> int:
        """Height and width in pixels that the model is built for."""
        return int(getattr(self.options, "image_size"))  # noqa: B009 - every option model has it

    def model(
        self, classes: int, mean: Sequence[float] = (0.5,) * 3, std: Sequence[float] = (0.25,) * 3
    ) -> MultiExitModel:
        """Build the model; its weights come from torch's global generator."""
        return self.build(self.options, classes, mean, std)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest keeps: the architecture's name and every option."""
        return {"name": self.name, **self.options.model_dump(mode="json")}

    def untrained(self) -> "Architecture":
        """Return the same architecture without pretrained weights, for a checkpoint to fill."""
        if not getattr(self.options, "pretrained", False):
            return self
        return replace(self, options=self.options.model_copy(update={"pretrained": False}))


def architecture(preset: str, options: Mapping[str, Any] | None = None) -> Architecture:
    """Settle a preset with `options` over its own.

    Args:
        preset: a name in `MODELS`, `torchvision:NAME` or `package.module:factory`.
        options: fields of the architecture's option model, as values or as text.

    Raises:
        ConfigError: an unknown preset or option, or values that do not fit together.
    """
    chosen = _found(preset)
    settled = settle(preset, chosen.options, {**chosen.values, **(options or {})})
    return Architecture(chosen.architecture, settled, chosen.build)


def _found(preset: str) -> Preset:
    if preset in MODELS:
        return MODELS[preset]
    # Only here: torchvision brings torch's compiler along, seconds that no other model should wait for.
    from training.models.backbone import (
        BackboneOptions,
        TorchvisionOptions,
        factory_builder,
        torchvision_builder,
    )

    if preset.startswith(TORCHVISION):
        return Preset(preset, torchvision_builder(preset.removeprefix(TORCHVISION)), TorchvisionOptions)
    if ":" in preset:
        return Preset(preset, factory_builder(preset), BackboneOptions)
    raise ConfigError(
        f"unknown model {preset!r}; known: {', '.join(sorted(MODELS))}, "
        f"{TORCHVISION}NAME and package.module:factory"
    )
