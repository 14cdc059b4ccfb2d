"""Ordinary classifiers as the exits of one bundle: a small one first, dearer ones where it is not sure.

Nothing is trained; what crosses a boundary is the image. Wang et al., *Wisdom of Committees* (ICLR 2022),
found such cascades to be as good as networks that were designed to be efficient. Deviation: an ensemble of
the members only where it is asked for; else each exit answers by its own network, so that the last one's
answers are those of the largest network.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from serving.bundle import Named, check_target
from training.adopting import overlap
from training.adopting.assembling import cascade
from training.adopting.config import AdoptingConfig
from training.adopting.drafting import (
    Done,
    Prepared,
    check_precision,
    check_rising,
    described,
    first_images,
    image_spec,
    write,
)
from training.adopting.images import Opened, open_images
from training.adopting.network import pixels_of
from training.adopting.network.classes import class_names, order_of, read_names
from training.adopting.network.loading import load_network
from training.adopting.network.network import Network
from training.data.images import Progress
from training.errors import ConfigError


def load_members(names: Sequence[str], config: AdoptingConfig) -> list[Network]:
    """Load networks and give them the class names that the settings name.

    Raises:
        AdoptError, ConfigError: one cannot be used.
    """
    files = config.files()
    if len(files) not in (0, 1, len(names)):
        raise ConfigError(
            f"--classes: expected one file for all or one for each of {len(names)} networks; found "
            f"{len(files)}"
        )
    networks = [load_network(name, config.image_size) for name in names]
    for network in networks:
        check_precision(network.name, network.model, config)
    own = [read_names(file) for file in files] * (len(names) if len(files) == 1 else 1)
    if not own:
        return networks
    return [replace(network, class_names=named) for network, named in zip(networks, own, strict=True)]


def build(
    names: Sequence[str],
    folder: Path,
    config: AdoptingConfig,
    *,
    force: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Done:
    """Make a bundle of networks that are trained already.

    Args:
        names: where the networks are (`training.adopting.network.loading`), from the cheapest to the dearest.
        folder: where the bundle goes.
        config: the settings.
        force: replace a bundle that is there.
        tell: takes a sentence on what is going on.
        progress: called with the progress of decoding.

    Raises:
        AdoptError: the networks do not go together, or not with the images.
        BundleError, ConfigError, DataError, RunError: something else does not fit.
    """
    check_target(folder, force=force)
    if len(names) < 2:
        raise ConfigError(
            "a cascade needs at least two networks: give exits to a single one by training.adopt"
        )
    opened = open_images(config, trains=False)
    for warning in overlap.warnings(opened, trains=False):
        tell(warning)
    prepared = prepare(load_members(names, config), opened, config, tell)
    return write(folder, prepared, config, force=force, tell=tell, progress=progress)


def prepare(
    networks: Sequence[Network], opened: Opened, config: AdoptingConfig, tell: Callable[[str], None]
) -> Prepared:
    """Assemble networks as the exits of one bundle; a single one is a bundle without early exits.

    Args:
        networks: from the cheapest to the dearest.
        opened: the images.
        config: the settings.
        tell: takes a sentence on what is going on.

    Raises:
        AdoptError: the networks do not go together, or not with the images.
        ConfigError, DataError: something else does not fit.
    """
    check_rising(networks)
    full = networks[-1]
    classes = class_names(full, opened.calibrate.data_set, opened.calibrate.classes)
    orders = [order_of(network, classes) for network in networks]
    opened = opened.in_order_of(classes)
    spec = image_spec(networks, config)
    images, labels = first_images(opened.calibrate, spec, pixels_of.TRIED_IMAGES, config.seed)
    said = pixels_of.given(config.normalise, networks)
    members = []
    for network, way, order in zip(networks, said, orders, strict=True):
        member, found = pixels_of.settled(network, way, order, spec, images, labels)
        if found:
            tell(found)
        members.append(member)
    facts = (
        Named(name="cascade", options={"members": [described(member) for member in members]}),
        Named(name="none", options={}),
    )
    return Prepared(cascade(members, spec, len(classes)), members[-1], facts, opened, spec, classes)
