"""Replaces a bundle's calibration by that of other images; the model itself stays as it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.progress import track

from serving.bundle import Bundle, Calibration, DataSet, Manifest, check_target, write_bundle
from serving.bundle.manifest import NEWEST_FORMAT, Arithmetic, Truth
from serving.capture.reading import CHUNK as CAPTURED_CHUNK
from serving.capture.reading import find_captured
from serving.engine.backends.names import InferencePrecision, RuntimeName
from serving.engine.backends.registry import calibrated_for, make_backend, refuse_unfit_precision
from serving.engine.engine import Engine
from serving.errors import CaptureError, EngineError
from serving.images.arrays import image_shape
from training.calibration.arithmetic import told
from training.calibration.chance import tell_chance
from training.calibration.collect import (
    Answers,
    Labels,
    Probabilities,
    calibration_of,
    collect,
    engine_probabilities,
    rated,
)
from training.calibration.config import ENOUGH_LABELS, CalibrateConfig
from training.calibration.seen import Seen, seen
from training.data.config import ValidationFrom
from training.data.images import decode
from training.data.source import Source, load_source
from training.data.split import Subset, make_split
from training.data.unlabelled import load_images
from training.errors import DataError

CHUNK = 256
DEFAULT_SHARE = 0.1
"""Share of the validation part where neither the user nor the bundle says one."""


def calibrate(bundle: Bundle, config: CalibrateConfig) -> Bundle:
    """Replace a bundle's calibration, and the accuracies in its manifest, by those on other images.

    Raises:
        BundleError: the new bundle cannot be written.
        EngineError: the runtime or the precision is not to be had here.
        DataError: the images cannot be read, their classes are not the bundle's, or the network was trained
            on some of them.
        CaptureError: no captured images of this bundle.
    """
    target = config.out or bundle.folder
    force = config.force or config.out is None
    check_target(target, force=force)
    gathered = _of_capture(bundle, config) if config.dataset is None else _of_data_set(bundle, config)
    calibration = calibration_of(gathered.answers)
    tell_chance(calibration.accuracy[-1], len(bundle.manifest.classes), len(calibration.labels))
    engine = gathered.engine
    return write_bundle(
        target,
        _manifest(bundle.manifest, calibration, gathered.source, gathered.truth, engine.arithmetic),
        [bundle.segment_bytes(index) for index in range(engine.stages)],
        calibration,
        samples=bundle.samples,
        force=force,
    )


@dataclass(frozen=True, eq=False)
class _Gathered:
    """Answers to calibrate on: where their images come from, their truth, and what gave them."""

    answers: Answers
    source: str
    truth: Truth
    engine: Engine


def _of_data_set(bundle: Bundle, config: CalibrateConfig) -> _Gathered:
    """Ask every exit about the images of a data set.

    Raises:
        DataError: as `calibrate`.
    """
    assert config.dataset is not None  # noqa: S101 - the caller asked
    own = config.truth == "own"
    load = load_images if own else load_source
    source = load(config.dataset, config.image_column, config.label_column)
    if own and not source.classes and config.split not in (None, "all"):
        raise DataError(
            f"data set {source.name} has no labels to divide it by: expected --split all, found "
            f"{config.split}"
        )
    trained_on = bundle.manifest.data_set
    seed = config.split_seed if config.split_seed is not None else trained_on.split_seed or 0
    known = seen(trained_on, source)
    part = config.split or ("validation" if known.kinship == "same" else "all")
    to_class = None if own else class_indices(source.name, source.classes, bundle.manifest.classes)
    share = config.validation_share or _own_share(known, trained_on, source)
    on_test = trained_on.calibrated_on_test is not None and known.kinship == "same"
    subsets = _subsets(source, part, seed, share, "test" if on_test else "train")
    fitted = known.count(subsets)
    if fitted and not config.allow_trained_images:
        raise DataError(_refusal(known, fitted, source, part, sum(map(len, subsets))))
    engine = engine_to_calibrate_on(bundle, config)
    answers = collect(_answers(engine, bundle, source, subsets, to_class), seed)
    if fitted:  # nothing that is found on them can be certified
        answers = replace(answers, certify=np.zeros(len(answers.labels), np.bool_))
    return _Gathered(answers, f"{source.name} ({part})", "own" if own else "labels", engine)


def _of_capture(bundle: Bundle, config: CalibrateConfig) -> _Gathered:
    """Ask every exit about captured images, held against their labels where there are enough, else their own.

    Raises:
        CaptureError: there are none of this bundle, or they cannot be read.
    """
    assert config.from_capture is not None  # noqa: S101 - the caller asked
    manifest = bundle.manifest
    captured = find_captured(config.from_capture, manifest.identity, bundle.name)
    truth = config.truth or ("labels" if captured.labelled >= ENOUGH_LABELS else "own")
    labelled = truth == "labels"
    if labelled and captured.labelled < 2:
        raise CaptureError(
            f"{captured.file}: expected labels of 2 captured images or more, found {captured.labelled} among "
            f"{captured.images:,} images: send labels, or give --truth own"
        )
    engine = engine_to_calibrate_on(bundle, config)
    used = captured.labelled if labelled else captured.images
    batches = captured.batches(image_shape(manifest.preprocessing), labelled=labelled)
    seed = config.split_seed if config.split_seed is not None else manifest.data_set.split_seed or 0

    def answers() -> Iterator[tuple[Probabilities, Labels]]:
        shown = track(batches, "answering captured images", total=-(-used // CAPTURED_CHUNK), transient=True)
        for images, labels in shown:
            probabilities = engine_probabilities(engine, images)
            yield probabilities, labels if labelled else probabilities[:, -1].argmax(axis=-1).astype(np.int64)

    known = f"{captured.labelled:,} of {captured.images:,} images labelled"
    return _Gathered(collect(answers(), seed), f"captured traffic ({known})", truth, engine)


def engine_to_calibrate_on(bundle: Bundle, config: CalibrateConfig) -> Engine:
    """Open the engine that answers: what was asked for, or else that of the calibration before.

    Raises:
        BundleError: it cannot be run.
        EngineError: the runtime or the precision is not to be had here, or is not for this bundle.
    """
    before = calibrated_for(bundle.manifest)
    known: RuntimeName = "openvino" if before.runtime == "openvino" else "onnxruntime"
    runtime = config.runtime or ("openvino" if config.inference_precision == "bfloat16" else known)
    stored = bundle.manifest.precision
    if config.inference_precision is not None and stored != "float32":
        raise EngineError(
            f"bundle {bundle.name!r} is stored in {stored}, and computed in that: --inference-precision is "
            "for bundles in float32"
        )
    refuse_unfit_precision(bundle.manifest, runtime)
    kept: InferencePrecision = (
        "bfloat16" if before.precision == "bfloat16" and runtime == "openvino" else "float32"
    )
    backend = make_backend(runtime, config.inference_precision or kept)
    return Engine(bundle, threads=0, backend=backend)


def class_indices(data_set: str, found: Sequence[str], classes: Sequence[str]) -> Labels:
    """Return the bundle's class index for each class of a data set, int64 [len(found)].

    Names decide. Where the data set names no class and only numbers them, the numbers are the indices.

    Raises:
        DataError: a class that the bundle does not have.
    """
    index = {name: place for place, name in enumerate(classes)}
    if not index.keys() & set(found) and all(name.isdecimal() for name in found):
        index = {name: int(name) for name in found if int(name) < len(classes)}
    if unknown := [name for name in found if name not in index]:
        raise DataError(
            f"data set {data_set}: {len(unknown)} of its {len(found)} classes are not the bundle's: "
            f"{_some(unknown)}; the bundle has {_some(classes)}: rename or remove those that differ"
        )
    return np.array([index[name] for name in found], dtype=np.int64)


def _own_share(known: Seen, trained_on: DataSet, source: Source) -> float:
    """Return the share that training kept for validation, of the data set it had; else the default."""
    for own in (trained_on.validation_share, trained_on.calibrated_on_test):
        if own is not None:
            return own
    if known.split is not None and trained_on.validation_images:
        return trained_on.validation_images / len(source.labels["train"])
    return DEFAULT_SHARE


def _refusal(known: Seen, fitted: int, source: Source, part: str, images: int) -> str:
    if known.kinship == "same":
        return (
            f"data set {source.name} ({part}): the network was trained on {fitted:,} of these {images:,} "
            "images, and is too sure of them: give --split validation without --split-seed and "
            "--validation-share, or images that it has not seen; --allow-trained-images takes them, without "
            "a guarantee"
        )
    return (
        f"data set {source.name} ({part}): it has the images that the network was trained on, in another "
        f"order, so about {fitted:,} of these {images:,} were trained on: give them in the order that the "
        "network was trained with, or images that it has not seen; --allow-trained-images takes them, "
        "without a guarantee"
    )


def _subsets(
    source: Source, part: str, seed: int, validation_share: float, validation_from: ValidationFrom
) -> list[Subset]:
    if part == "all":
        return [
            Subset(part, np.arange(len(labels), dtype=np.int64)) for part, labels in source.labels.items()
        ]
    split = make_split(
        source.labels,
        source.classes,
        seed=seed,
        validation_share=validation_share,
        train_limit=None,
        validation_from=validation_from,
    )
    return [{"train": split.train, "validation": split.validation, "test": split.test}[part]]


def _answers(
    engine: Engine, bundle: Bundle, source: Source, subsets: Sequence[Subset], to_class: Labels | None
) -> Iterator[tuple[Probabilities, Labels]]:
    """Yield probabilities and labels; without classes to look up, the last exit says what is right."""
    chunks = [
        (source.parts[subset.part], subset.rows[start : start + CHUNK])
        for subset in subsets
        for start in range(0, len(subset), CHUNK)
    ]
    for part, rows in track(chunks, "calibrating"):
        images = decode(part, rows, bundle.manifest.preprocessing)
        found = engine_probabilities(engine, images)
        yield found, found[:, -1].argmax(-1) if to_class is None else to_class[part.labels[rows]]


def _manifest(
    old: Manifest, calibration: Calibration, source: str, truth: Truth, arithmetic: Arithmetic
) -> Manifest:
    own: Truth | None = "own" if truth == "own" else None
    return old.model_copy(
        update={
            "segments": rated(old.segments, calibration.accuracy),
            "calibration": old.calibration.model_copy(
                update={
                    "source": source,
                    "truth": own,
                    "arithmetic": told(
                        arithmetic, format_2=own is not None or old.used_format == NEWEST_FORMAT
                    ),
                }
            ),
        }
    )


def _some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def knows_its_images(old: Bundle, new: Bundle) -> bool:
    """Tell whether a bundle was calibrated anew on the data set that it was trained on."""
    return (new.manifest.calibration.source or "").startswith(f"{old.manifest.data_set.name} (")
