"""The normalisation of a network's pixels: the presets that trained classifiers come with."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.errors import ConfigError

Three = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """(x / 255 − mean) / std per channel, x in 0..255.

    Args:
        name: as it is given on the command line.
        mean: per channel, red first, on the scale 0..1.
        std: likewise.
        bgr: the network takes blue first.
    """

    name: str
    mean: Three
    std: Three
    bgr: bool = False

    @property
    def scale(self) -> Three:
        """Return what a pixel of 0..255 is multiplied by, per channel."""
        red, green, blue = self.std
        return (1 / (255 * red), 1 / (255 * green), 1 / (255 * blue))

    @property
    def offset(self) -> Three:
        """Return what is added then."""
        red, green, blue = (-mean / std for mean, std in zip(self.mean, self.std, strict=True))
        return (red, green, blue)


_HALF = (0.5, 0.5, 0.5)
PRESETS: dict[str, tuple[Three, Three]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": (_HALF, _HALF),
    "0..1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "0..255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
BGR = "bgr:"
HELP = (
    f"{', '.join(PRESETS)}, or MEAN:STD (each one number or three, on the scale 0..1); {BGR} in front for BGR"
)


def normalisation(text: str) -> Normalisation:
    """Read a preset's name, or `MEAN:STD`; `bgr:` may stand before either.

    Raises:
        ConfigError: neither.

    >>> normalisation("half").scale[0] * 255
    2.0
    >>> normalisation("bgr:0.5:0.25").bgr
    True
    """
    spec = text.removeprefix(BGR)
    bgr = spec != text
    if spec in PRESETS:
        return Normalisation(text, *PRESETS[spec], bgr)
    mean, _, std = spec.partition(":")
    try:
        found = Normalisation(text, _three(mean.split(",")), _three(std.split(",")), bgr)
        if min(found.std) <= 0:
            raise ValueError("a deviation of 0")
    except ValueError as error:
        raise ConfigError(f"--normalise {text}: expected {HELP}") from error
    return found


def candidates() -> list[Normalisation]:
    """Return the presets, each in both orders of the channels."""
    return [normalisation(prefix + name) for prefix in ("", BGR) for name in PRESETS]


def _three(numbers: Sequence[str]) -> Three:
    values = [float(number) for number in numbers]
    if len(values) == 1:
        values *= 3
    red, green, blue = values
    return (red, green, blue)
