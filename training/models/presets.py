"""The named configurations of the architectures, as plain values: names can be listed without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TORCHVISION = "torchvision:"


@dataclass(frozen=True)
class Preset:
    """A named configuration of an architecture.

    Attributes:
        architecture: a key of `training.models.registry.ARCHITECTURES`.
        values: of its options, over their defaults.
    """

    architecture: str
    values: Mapping[str, Any] = field(default_factory=dict)


def _msdnet(**values: Any) -> Preset:
    return Preset("msdnet", values)


PRESETS: dict[str, Preset] = {
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
    "ladder": Preset("ladder"),
    # The most accuracy that a short training reaches on small images.
    "resnet9": Preset("resnet9"),
    # The poster's VGG-16 SDN, 314 MFLOPs at the last exit.
    "sdn-vgg16": Preset("sdn-vgg"),
    "sdn-resnet56": Preset("sdn-resnet"),
}
