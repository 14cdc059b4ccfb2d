"""A start from the weights of a trained network: a file of the network that the model was cut out of."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training.config import FitConfig
from training.data.normalising import HELP, normalisation
from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel

WEIGHTS, DATA = "weights", "data"
_PLACE = re.compile(r"segments\.(\d+)\.(body|head)\.(.+)")
_COUNTER = "num_batches_tracked"
_SHOWN = 3


def fill(model: MultiExitModel, state: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """Copy weights into the network that a model was cut out of; heads of early exits stay as they are.

    Args:
        model: changed in place.
        state: by the network's own names.
        source: where they are from, for messages.

    Returns:
        The parameters of the network's classifier that have another shape, for other classes, and stayed as
        they were drawn.

    Raises:
        ConfigError: weights are missing, or have another shape.
    """
    missing, misshaped, drawn = [], [], []
    own = model.state_dict()
    last = str(model.exits - 1)
    for name, tensor in own.items():
        place = _PLACE.fullmatch(name)
        if place is None or (place[2] == "head" and place[1] != last):
            continue
        key = place[3]
        if key not in state:
            if not key.endswith(_COUNTER):
                missing.append(key)
        elif state[key].shape == tensor.shape:
            with torch.no_grad():
                tensor.copy_(state[key])
        elif place[2] == "head":
            drawn.append(key)
        else:
            misshaped.append(f"{key} {list(tensor.shape)}, found {list(state[key].shape)}")
    if missing or misshaped:
        what = (
            f"without {', '.join(missing[:_SHOWN])}" if missing else f"with {', '.join(misshaped[:_SHOWN])}"
        )
        raise ConfigError(
            f"--init-weights {source}: expected the weights of this network; found a file {what} "
            f"({len(missing)} missing, {len(misshaped)} of another shape)"
        )
    return tuple(drawn)


def check_normalisation(config: FitConfig) -> None:
    """Refuse pixels that the weights to start from would not know.

    Raises:
        ConfigError: `--normalise` is needed and not given, or contradicts what brings its own.
    """
    given = config.normalise
    if config.init_weights and given is None:
        raise ConfigError(
            f"--init-weights {config.init_weights}: nothing says how its pixels are normalised: give "
            f"--normalise ({HELP}, or {DATA} for the training images' own mean and deviation)"
        )
    if given == WEIGHTS and not config.pretrained:
        raise ConfigError(
            f"--normalise {WEIGHTS}: expected --pretrained; other weights do not say it: {HELP}"
        )
    if given in (None, WEIGHTS):
        return
    if config.pretrained or config.init_from:
        source = "--pretrained" if config.pretrained else "--init-from"
        raise ConfigError(f"--normalise {given}: {source} brings its own way: leave one out")
    if given != DATA and normalisation(given).bgr:
        raise ConfigError(f"--normalise {given}: expected RGB; images are trained on and served as RGB")


def pixel_normalisation(
    config: FitConfig, mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the channel means and deviations, on the scale 0..1, that a run normalises by.

    Args:
        config: the run's settings.
        mean: of the training images.
        std: likewise.
    """
    if config.normalise in (None, WEIGHTS, DATA):
        return tuple(mean), tuple(std)
    found = normalisation(config.normalise)
    return found.mean, found.std
