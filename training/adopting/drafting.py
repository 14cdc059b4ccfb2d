"""Steps of both commands with an assembled graph: the draft of its manifest, its trial, and the bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from pydantic import JsonValue

from serving.bundle import NEWEST_FORMAT, UNSEALED, CalibrationSpec, DataSet, Manifest, Named, Preprocessing
from training.adopting.assembling import Assembled, Member
from training.adopting.config import AdoptingConfig
from training.adopting.ensembling import ensembled, fit_ensemble
from training.adopting.images import Opened, Pictures, as_data
from training.adopting.network import reading
from training.adopting.network.network import Network
from training.adopting.reference import LastExit, Reference
from training.calibration.collect import Answers, Labels, Probabilities
from training.calibration.temperature import ENOUGH_ROWS
from training.data.batches import Data
from training.data.images import Progress, decode
from training.data.opening import preprocessing
from training.errors import AdoptError, ConfigError
from training.exporting.export import Written, draft_segments, write_trial
from training.exporting.trial import Check, Trial
from training.runs.provenance import git_revision, versions


@dataclass(frozen=True)
class Prepared:
    """An assembled graph, and what its bundle is written with.

    Args:
        assembled: the graph.
        member: the full network, which the last exit is.
        facts: architecture and method, for the manifest.
        opened: the images, their labels in the bundle's order.
        spec: what the server makes of an image.
        classes: the bundle's.
    """

    assembled: Assembled
    member: Member
    facts: tuple[Named, Named]
    opened: Opened
    spec: Preprocessing
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """A bundle of trained networks, and what was found on the way.

    Args:
        written: the bundle.
        member: the full network, which the last exit is.
        last: how the last exit, by itself, compares to the original file.
        classes: the bundle's.
        test: images to judge by; None where none were given.
    """

    written: Written
    member: Member
    last: LastExit
    classes: tuple[str, ...]
    test: Pictures | None


def image_spec(networks: Sequence[Network], config: AdoptingConfig) -> Preprocessing:
    """Return what the server makes of an image: the size of the network with the largest input.

    Raises:
        ConfigError: `--resize` leaves no room for it.
    """
    largest = max(networks, key=lambda network: network.height * network.width)
    height, width = largest.height, largest.width
    resize = config.resize
    if resize is None and height == width:
        resize = preprocessing(height).resize
    if resize is not None and resize < max(height, width):
        raise ConfigError(
            f"--resize {resize}: expected at least the {max(height, width)} pixels that {largest.name} takes"
        )
    return Preprocessing(
        height=height, width=width, resize=resize, filter=config.filter, decode=config.decode
    )


def first_images(pictures: Pictures, spec: Preprocessing, count: int, seed: int) -> tuple[Any, Labels | None]:
    """Decode a few images, uint8 [n, H, W, 3], with their labels where all have one."""
    few = pictures.some(count, seed, "few")
    return decode(few.part, few.rows, spec), few.labels if pictures.labelled else None


def check_precision(name: str, model: onnx.ModelProto, config: AdoptingConfig) -> None:
    """Refuse to bring down to fewer bits what computes in integers already.

    Raises:
        AdoptError: it does.
    """
    if config.precision != "float32" and reading.is_quantised(model):
        raise AdoptError(
            f"{name}: already quantised (QDQ): leave --precision {config.precision} out, and the bundle "
            "computes as the file does"
        )


def write(
    folder: Path,
    prepared: Prepared,
    config: AdoptingConfig,
    *,
    force: bool,
    tell: Callable[[str], None],
    progress: Progress | None = None,
) -> Done:
    """Serve an assembled graph to the images it is calibrated on, hold it against the original, and write it.

    Args:
        folder: where the bundle goes.
        prepared: the graph and what goes with it.
        config: the settings.
        force: replace a bundle that is there.
        tell: takes a sentence on what is going on.
        progress: called with the progress of decoding.

    Raises:
        AdoptError: the last exit differs from the original.
        BundleError, DataError, RunError: as exporting.
    """
    member = prepared.member
    check_precision(member.network.name, prepared.assembled.whole, config)
    data, original = truthful(prepared, config, progress)
    last = LastExit(member.network.name, original)
    check: Check | None = last.add
    if config.ensemble != "none":
        prepared = answering_together(prepared, data, config, last.add, tell)
        check = LastExit(member.network.name, original).add if config.ensemble == "early" else None
    assembled = prepared.assembled
    trial = Trial(_draft(prepared, data, config), data, gather_rows=config.gather_rows)
    written = write_trial(
        folder, trial, assembled.whole, assembled.parts, config, data, check, force=force, tell=tell
    )
    return Done(written, member, last, prepared.classes, prepared.opened.test)


def answering_together(
    prepared: Prepared, data: Data, config: AdoptingConfig, check: Check, tell: Callable[[str], None]
) -> Prepared:
    """Let exits answer by an ensemble of the exits so far, weighted by how good each is by itself.

    Args:
        prepared: the graph, whose exits answer by themselves.
        data: the images, labelled as `--truth` says.
        config: says which exits.
        check: looks at every batch of what they answer by themselves.
        tell: takes a sentence on what is going on.
    """
    assembled = prepared.assembled
    exits = len(assembled.parts) - (config.ensemble == "early")
    trial = Trial(_draft(prepared, data, config), data, gather_rows=False)
    answers = trial.answers(assembled.whole, assembled.parts, check)
    if exits < 2:
        tell(
            f"--ensemble {config.ensemble}: nothing to combine, since {exits} of {len(assembled.parts)} "
            "exits would take part; each answers by itself"
        )
        return prepared
    ensemble = fit_ensemble(*answers.to_fit_on(ENOUGH_ROWS), exits)
    architecture, method = prepared.facts
    facts: dict[str, JsonValue] = {
        "exits": exits,
        "carried": list(ensemble.carried),
        "own": list(ensemble.own),
    }
    method = method.model_copy(update={"options": {**method.options, "ensemble": facts}})
    return replace(prepared, assembled=ensembled(assembled, ensemble), facts=(architecture, method))


def truthful(
    prepared: Prepared, config: AdoptingConfig, progress: Progress | None = None
) -> tuple[Data, list[Probabilities]]:
    """Return the images, labelled as `--truth` says, and the original's probabilities batch by batch."""
    opened, spec, classes = prepared.opened, prepared.spec, prepared.classes
    data = as_data(opened.train, opened.calibrate, spec, classes, config.seed, progress)
    reference = Reference(prepared.member, spec)
    original = [reference(batch.images.numpy()) for batch in data.validation()]
    if config.truth == "own":
        answers = np.concatenate([batch.argmax(-1) for batch in original]).astype(np.int64)
        calibrate = opened.calibrate.with_labels(answers)
        data = as_data(opened.train, calibrate, spec, classes, config.seed)
    return data, original


def trial_answers(prepared: Prepared, config: AdoptingConfig) -> Answers:
    """Serve an assembled graph to the images it is calibrated on, and return what every exit answers."""
    data, _ = truthful(prepared, config)
    trial = Trial(_draft(prepared, data, config), data, gather_rows=False)
    return trial.answers(prepared.assembled.whole, prepared.assembled.parts)


def _draft(prepared: Prepared, data: Data, config: AdoptingConfig) -> Manifest:
    architecture, method = prepared.facts
    assembled, opened = prepared.assembled, prepared.opened
    return Manifest(
        format_version=NEWEST_FORMAT,
        architecture=architecture,
        method=method,
        data_set=DataSet(
            name=opened.train.data_set,
            split_seed=config.seed,
            train_images=len(opened.train),
            validation_images=len(opened.calibrate),
        ),
        git_revision=git_revision(),
        versions=versions(),
        classes=prepared.classes,
        preprocessing=prepared.spec,
        segments=draft_segments(assembled.parts, assembled.flops),
        precision="float32",
        calibration=CalibrationSpec(
            sha256=UNSEALED,
            source=None if data.name == opened.train.data_set else data.name,
            truth="own" if config.truth == "own" else None,
        ),
        original_flops=prepared.member.network.flops,
    )


def described(member: Member) -> dict[str, JsonValue]:
    """Return what a manifest says of a network that went into a bundle."""
    network = member.network
    return {
        "name": network.name,
        "sha256": network.sha256,
        "flops": network.flops,
        "image_size": [network.height, network.width],
        "normalise": member.normalisation.name if network.dtype == "float32" else None,
    }


def check_rising(networks: Sequence[Network]) -> None:
    """Refuse networks that are not given from the cheapest to the dearest.

    Raises:
        AdoptError: with what each costs.
    """
    costs = [network.flops for network in networks]
    if costs != sorted(costs):
        listed = ", ".join(f"{network.name} {network.flops / 1e6:,.1f} MFLOPs" for network in networks)
        raise AdoptError(f"expected networks from the cheapest to the dearest; found {listed}")
