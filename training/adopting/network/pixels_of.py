"""The normalisation of each network's pixels: given, of its weights, or found by its answers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.bundle import Preprocessing
from training.adopting.assembling import Member
from training.adopting.network.network import Network
from training.adopting.reference import Reference
from training.calibration.collect import Labels
from training.data.normalising import HELP, Normalisation, candidates, normalisation
from training.errors import AdoptError, ConfigError

TRIED_IMAGES = 500
_LEAST_IMAGES = 50
_ALMOST_CHANCE_OF_TWO = 0.55


def given(texts: Sequence[str], networks: Sequence[Network]) -> list[Normalisation | None]:
    """Return what the user says of each network; what its weights say where the user says nothing.

    Raises:
        ConfigError: neither one value nor one for each network, or one that cannot be read.
    """
    if len(texts) not in (0, 1, len(networks)):
        raise ConfigError(
            f"--normalise: expected one value for all or one for each of {len(networks)} networks; found "
            f"{len(texts)}"
        )
    given = [network.normalise for network in networks]
    if texts:
        given = [*texts] if len(texts) == len(networks) else [texts[0]] * len(networks)
    return [normalisation(text) if text else None for text in given]


def settled(
    network: Network,
    said: Normalisation | None,
    order: tuple[int, ...] | None,
    spec: Preprocessing,
    images: npt.NDArray[np.uint8],
    labels: Labels | None,
) -> tuple[Member, str | None]:
    """Settle a network's normalisation, and check that it recognises these images.

    Args:
        network: the classifier.
        said: its normalisation where it is known.
        order: of its classes.
        spec: the images that the bundle takes.
        images: a few, uint8 [n, H, W, 3].
        labels: int64 [n], in the bundle's order; None where there are none.

    Returns:
        The network and how it is used, and a sentence for the user where something was found out.

    Raises:
        AdoptError: it gets little more right than chance would.
        ConfigError: nothing says how its pixels are normalised, and there are no labels to find out by.
    """
    images, labels = images[:TRIED_IMAGES], None if labels is None else labels[:TRIED_IMAGES]
    unnormalised = normalisation("0..255")
    if network.dtype == "uint8":
        said = unnormalised
    if said is None and labels is None:
        raise ConfigError(
            f"{network.name}: nothing says how its pixels are normalised, and without labels it cannot be "
            f"tried out: give --normalise ({HELP})"
        )
    if labels is None:
        return Member(network, said or unnormalised, order), None
    tried = {} if said is None else {said.name: _accuracy(network, said, order, spec, images, labels)}
    chance = low_bar(network.classes)
    if said is None or (
        tried[said.name] < chance and len(labels) >= _LEAST_IMAGES and network.dtype != "uint8"
    ):
        tried |= {own.name: _accuracy(network, own, order, spec, images, labels) for own in candidates()}
    best = max(tried, key=lambda name: tried[name])
    chosen = said or normalisation(best)
    if tried[chosen.name] < chance and len(labels) >= _LEAST_IMAGES:
        raise AdoptError(
            f"{network.name} gets {tried[chosen.name]:.1%} of {len(labels)} labelled images right, little "
            "more than chance: its classes are in another order (give their names by --classes), or its "
            f"pixels are normalised in another way (of {len(tried)} ways tried {best} does best, with "
            f"{tried[best]:.1%}: --normalise)"
        )
    if said is not None:
        return Member(network, chosen, order), None
    return Member(network, chosen, order), (
        f"{network.name}: pixels normalised as {chosen.name}, which gets {tried[best]:.1%} of {len(labels)} "
        f"images right, the most of {len(tried)} ways tried; --normalise says otherwise"
    )


def low_bar(classes: int) -> float:
    """Return the share of right answers that a network has to reach to be one for these images.

    >>> low_bar(10)
    0.2
    """
    return min(2 / classes, _ALMOST_CHANCE_OF_TWO)


def _accuracy(
    network: Network,
    way: Normalisation,
    order: tuple[int, ...] | None,
    spec: Preprocessing,
    images: npt.NDArray[np.uint8],
    labels: Labels,
) -> float:
    answers = Reference(Member(network, way, order), spec)(images)
    return float((answers.argmax(-1) == labels).mean())
