"""Early exits for one trained network: heads on the way, the network itself as it was."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from serving.bundle import Named, Preprocessing, check_target
from serving.engine.sessions import cores
from training.adopting import overlap
from training.adopting.assembling import Exit, Member, adopted
from training.adopting.cascading import load_members
from training.adopting.choosing import best_subset, chosen_cuts
from training.adopting.config import AdoptConfig
from training.adopting.drafting import (
    Done,
    Prepared,
    described,
    first_images,
    image_spec,
    trial_answers,
    write,
)
from training.adopting.features import Features
from training.adopting.heads import TrainedHead, train_head, untrained
from training.adopting.images import Opened, open_images
from training.adopting.network import pixels_of
from training.adopting.network.classes import class_names, order_of
from training.adopting.network.network import Network
from training.adopting.network.paths import Cut, cuts
from training.adopting.segment_times import segment_times
from training.data.columns import UNLABELLED
from training.data.images import Progress
from training.errors import AdoptError

_MOST_LOST = 0.05
"""Accuracy that exits found by themselves may lose at 80% of the network's cost; if more, none pays."""


class Show(Protocol):
    """Shows how far each step is."""

    def __call__(self, step: str, done: int, of: int) -> None:
        """Hear that a step has done something of all it does."""


def build(
    name: str,
    folder: Path,
    config: AdoptConfig,
    *,
    force: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    show: Show = lambda step, done, of: None,
) -> Done:
    """Give a trained network early exits and write it as a bundle.

    Args:
        name: where the network is (`training.adopting.network.loading`).
        folder: where the bundle goes.
        config: the settings.
        force: replace a bundle that is there.
        tell: takes a sentence on what is going on.
        show: called with the progress of each step.

    Raises:
        AdoptError: the network cannot be cut, does not recognise the images, or no exit pays.
        BundleError, ConfigError, DataError, RunError: something else does not fit.
    """
    check_target(folder, force=force)
    opened = open_images(config, trains=True)
    for warning in overlap.warnings(opened, trains=True):
        tell(warning)
    (network,) = load_members([name], config)
    work = config.work or folder.absolute().with_name(f".{folder.absolute().name}.adopting")
    prepared = prepare(network, opened, config, work, tell, show)
    done = write(folder, prepared, config, force=force, tell=tell, progress=_decoding(show))
    shutil.rmtree(work, ignore_errors=True)
    return done


def prepare(
    network: Network,
    opened: Opened,
    config: AdoptConfig,
    work: Path,
    tell: Callable[[str], None] = lambda text: None,
    show: Show = lambda step, done, of: None,
) -> Prepared:
    """Train the heads of a network and assemble them with it.

    Args:
        network: the network.
        opened: the images.
        config: the settings.
        work: folder of features and heads, which is left as it is: called again, it is taken up.
        tell: takes a sentence on what is going on.
        show: hears how far each step is.

    Raises:
        AdoptError: the network cannot be cut, does not know the images, or no exit pays.
        ConfigError, DataError, RunError: something else does not fit.
    """
    classes = class_names(
        network, opened.calibrate.data_set, opened.calibrate.classes or opened.train.classes
    )
    wanted, most = chosen_cuts(network, cuts(network), config.exits)
    opened = opened.in_order_of(classes)
    opened = replace(opened, train=opened.train.some(config.images, config.seed, "images"))
    spec = image_spec([network], config)
    images, labels = first_images(opened.calibrate, spec, pixels_of.TRIED_IMAGES, config.seed)
    (said,) = pixels_of.given(config.normalise, [network])
    member, found = pixels_of.settled(network, said, order_of(network, classes), spec, images, labels)
    if found:
        tell(found)
    _take_up(work, _key(member, wanted, opened.train.rows, config, spec.model_dump_json()))
    features = Features(
        member,
        wanted,
        spec,
        opened.train,
        work / "features",
        int(config.cache_gb * 1e9),
        lambda done, of: show("features", done, of),
    )
    features.compute()
    heads = _heads(features, wanted, member, config, work, show)
    exits = [Exit(cut, head) for cut, head in zip(wanted, heads, strict=True)]
    prepared = _assembled(exits, member, opened, spec, classes, config)
    if most is not None and len(exits) > 1:
        exits = _those_that_pay(exits, prepared, config, most, tell)
        prepared = _assembled(exits, member, opened, spec, classes, config)
    return prepared


def _assembled(
    exits: Sequence[Exit],
    member: Member,
    opened: Opened,
    spec: Preprocessing,
    classes: tuple[str, ...],
    config: AdoptConfig,
) -> Prepared:
    unlabelled = int((opened.train.labels == UNLABELLED).sum())
    facts = (
        Named(
            name=member.network.name,
            options={**described(member), "cuts": [own.cut.tensor for own in exits], "head": config.head},
        ),
        Named(
            name="adopted",
            options={
                "epochs": config.epochs,
                "images": len(opened.train),
                **({"unlabelled_images": unlabelled} if unlabelled and opened.train.classes else {}),
                "distillation": "last exit",
                "seed": config.seed,
            },
        ),
    )
    return Prepared(adopted(member, exits, spec), member, facts, opened, spec, classes)


def _heads(
    features: Features, wanted: Sequence[Cut], member: Member, config: AdoptConfig, work: Path, show: Show
) -> list[TrainedHead]:
    budget = int(config.head_share * member.network.flops)
    files = [work / f"head_{place + 1}.pt" for place in range(len(wanted))]
    heads = [untrained(features, place, config.head, budget, config.seed) for place in range(len(wanted))]

    def trained(place: int) -> TrainedHead:
        if files[place].exists():
            heads[place].net.load_state_dict(torch.load(files[place], weights_only=True))
            return replace(heads[place], net=heads[place].net.eval())
        torch.set_num_threads(1)  # heads are trained side by side, with the same result anywhere
        title = f"head {place + 1} of {len(wanted)} ({wanted[place].share:.0%})"
        head = train_head(
            features,
            place,
            heads[place],
            epochs=config.epochs,
            seed=config.seed,
            step=lambda done, of: show(title, done, of),
        )
        torch.save(head.net.state_dict(), files[place])
        return head

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(trained, range(len(wanted))))


def _those_that_pay(
    exits: list[Exit], prepared: Prepared, config: AdoptConfig, most: int, tell: Callable[[str], None]
) -> list[Exit]:
    """Return the exits of the best subset."""
    assembled, member = prepared.assembled, prepared.member
    answers = trial_answers(prepared, config)
    probabilities, labels = answers.to_fit_on(len(answers.labels))
    if config.cost == "time":
        image, _ = first_images(prepared.opened.calibrate, prepared.spec, 1, config.seed)
        segments = segment_times(assembled, image)
        original = sum(segment.body for segment in segments)
        tell(f"one image takes {original / 1e6:.2f} ms in all segments, their heads left out")
    else:
        segments, original = assembled.flops, member.network.flops
    choice = best_subset(probabilities, labels, segments, original, most, config.seed)
    kept = ", ".join(f"{exits[index].cut.tensor} at {exits[index].cut.share:.0%}" for index in choice.kept)
    tell(
        f"of {len(exits)} exits {len(choice.kept)} stay ({kept}): {choice.mean:.1%} right on average over "
        f"budgets of 30 to 80% of the {'time' if config.cost == 'time' else 'FLOPs'}, with the best ones "
        f"{choice.best:.1%}"
    )
    own = float((probabilities[:, -1].argmax(-1) == labels).mean())
    if choice.richest < own - _MOST_LOST:
        raise AdoptError(
            f"{member.network.name}: no exit pays: at 80% of its cost {choice.richest:.1%} are right, by "
            f"itself {own:.1%}; nothing was written. More --images or --epochs, or dearer heads "
            "(--head-share) may help"
        )
    return [exits[index] for index in choice.kept]


def _take_up(work: Path, key: str) -> None:
    """Go on with what is in the folder if it belongs to the same adoption; begin anew if not."""
    note = work / "adoption.json"
    if not note.exists() or json.loads(note.read_text()).get("key") != key:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        note.write_text(json.dumps({"key": key}))


def _key(member: Member, wanted: Sequence[Cut], rows: np.ndarray, config: AdoptConfig, spec: str) -> str:
    facts = (
        member.network.sha256, member.normalisation, member.order, [cut.tensor for cut in wanted], spec,
        config.dataset, config.head, config.head_share, config.epochs, config.seed, config.cache_gb,
    )  # fmt: skip
    return hashlib.sha256(repr(facts).encode() + np.ascontiguousarray(rows).tobytes()).hexdigest()


def _decoding(show: Show) -> Progress:
    return show
