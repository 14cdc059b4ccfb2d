"""The architectures, by name: a plain dict of builders and option models, which presets give values to.

Beside the presets, any classifier of torchvision (`torchvision:resnet50`) or of one's own
(`package.module:factory`) becomes an architecture by cutting it at named layers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pydantic import BaseModel

from training.errors import ConfigError
from training.models.architectures.ladder import LadderOptions, ladder
from training.models.architectures.msdnet import MSDNetOptions, msdnet
from training.models.architectures.resnet9 import ResNet9Options, resnet9
from training.models.architectures.sdn_resnet import SDNResNetOptions, sdn_resnet
from training.models.architectures.sdn_vgg import SDNVGGOptions, sdn_vgg
from training.models.multi_exit import MultiExitModel
from training.models.presets import PRESETS, TORCHVISION
from training.option_parsing import settle

Builder = Callable[[Any, int, Sequence[float], Sequence[float]], MultiExitModel]


class Entry(NamedTuple):
    """The builder of an architecture, and the model of its options."""

    build: Builder
    options: type[BaseModel]


ARCHITECTURES: dict[str, Entry] = {
    "msdnet": Entry(msdnet, MSDNetOptions),
    "ladder": Entry(ladder, LadderOptions),
    "resnet9": Entry(resnet9, ResNet9Options),
    "sdn-vgg": Entry(sdn_vgg, SDNVGGOptions),
    "sdn-resnet": Entry(sdn_resnet, SDNResNetOptions),
}


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

    @property
    def foreign(self) -> bool:
        """Say whether the user's own code makes the network."""
        return ":" in self.name and not self.name.startswith(TORCHVISION)

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
        preset: a name in `PRESETS`, `torchvision:NAME` or `package.module:factory`.
        options: fields of the architecture's option model, as values or as text.

    Raises:
        ConfigError: an unknown preset or option, or values that do not fit together.
    """
    name, entry, values = _found(preset)
    return Architecture(name, settle(preset, entry.options, {**values, **(options or {})}), entry.build)


def _found(preset: str) -> tuple[str, Entry, Mapping[str, Any]]:
    """Return the name of a preset's architecture, its entry, and the preset's own values."""
    if preset in PRESETS:
        chosen = PRESETS[preset]
        return chosen.architecture, ARCHITECTURES[chosen.architecture], chosen.values
    # Only here: torchvision brings torch's compiler along, seconds that no other model should wait for.
    from training.models.backbone import (
        BackboneOptions,
        TorchvisionOptions,
        factory_builder,
        torchvision_builder,
    )

    if preset.startswith(TORCHVISION):
        build = torchvision_builder(preset.removeprefix(TORCHVISION))
        return preset, Entry(build, TorchvisionOptions), {}
    if ":" in preset:
        return preset, Entry(factory_builder(preset), BackboneOptions), {}
    raise ConfigError(
        f"unknown model {preset!r}; known: {', '.join(sorted(PRESETS))}, "
        f"{TORCHVISION}NAME and package.module:factory"
    )
