"""From a run's last epoch to a bundle that can be served."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from serving.bundle import (
    NEWEST_FORMAT,
    UNSEALED,
    Bundle,
    CalibrationSpec,
    DataSet,
    Manifest,
    Named,
    Preprocessing,
    SegmentSpec,
    check_target,
    write_bundle,
)
from serving.bundle.manifest import Arithmetic
from serving.system.processor import instruction_set
from training.calibration.arithmetic import told
from training.calibration.collect import Probabilities, calibration_of, rated
from training.data.batches import Data
from training.data.feeds import Batch
from training.data.split import counts_fingerprint
from training.errors import RunError
from training.exporting.accuracy_bar import Bar, Lowered
from training.exporting.config import ExportSettings
from training.exporting.exit_subset import (
    AUTO,
    EXITS_KEPT,
    ExitChoice,
    best_exits,
    join_segments,
    named_exits,
    without_other_heads,
)
from training.exporting.graph import Boundary, boundaries, export_whole
from training.exporting.metadata import described
from training.exporting.precision import lower
from training.exporting.samples import draw_samples
from training.exporting.selection import MOST_IMAGES, Selection, select
from training.exporting.trial import Check, Trial
from training.models.flops import SegmentFlops, segment_flops
from training.models.multi_exit import MultiExitModel
from training.runs.provenance import git_revision, versions
from training.runs.recipe import recipe_of
from training.runs.run import Run

MAX_DIFFERENCE = 1e-4
"""Largest difference of a probability from torch's; float32 rounding stays a hundred times below."""

CHECKED_IMAGES = 256
BATCH_SIZE = 64


@dataclass
class Difference:
    """The largest difference between a probability of the engine and the model's, and on how many images.

    `exits` are the indices of the exits that the engine has, in order; all where None.
    """

    model: MultiExitModel
    exits: Sequence[int] | None = None
    largest: float = 0.0
    images: int = 0

    def add(self, served: Probabilities, batch: Batch) -> None:
        """Compare probabilities [n, K, C] of the engine with the model's, until enough images were compared.

        Raises:
            RunError: they differ by more than MAX_DIFFERENCE, or are not numbers.
        """
        if self.images >= CHECKED_IMAGES:
            return
        with torch.inference_mode():
            expected = (
                torch.stack(self.model(batch.images, self.exits), dim=1).float().softmax(dim=-1).numpy()
            )
        apart = np.abs(served - expected).max(axis=(0, 2))
        if not apart.max() <= MAX_DIFFERENCE:  # a NaN has to fail, too
            raise RunError(
                f"exit {self._number(int(apart.argmax()))} of the exported model is off by {apart.max():.1e} "
                f"from torch, {MAX_DIFFERENCE:.0e} is allowed; nothing was written. Other versions of torch, "
                "onnxscript or onnxruntime may agree"
            )
        self.largest = max(self.largest, float(apart.max()))
        self.images += len(served)

    def _number(self, place: int) -> int:
        """The number of an exit, from 1, as the run counts."""
        return 1 + (place if self.exits is None else self.exits[place])


@dataclass(frozen=True)
class Exported:
    """A new bundle, and what was found on the way.

    Args:
        bundle: as it was written.
        difference: between the float32 net and torch.
        selection: how the measure and the policy were chosen.
        kept: the layers that an int8 net keeps in float, the worst first.
        exits: which exits stayed; None where all did, unasked.
    """

    bundle: Bundle
    difference: Difference
    selection: Selection
    kept: tuple[str, ...] = ()
    exits: ExitChoice | None = None


def export(
    run: Run,
    folder: Path,
    settings: ExportSettings | None = None,
    *,
    exits: str | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Export the last whole epoch of a run to a bundle.

    Args:
        run: a run with at least one whole epoch.
        folder: where the bundle goes; its last part is the model's name in the server.
        settings: the precision among others; float32 where None.
        exits: those that the bundle has: `auto`, or numbers such as `1,3,5`; all where None.
        force: replace a bundle that is there.
        tell: takes a sentence on what is going on, where it is worth one.

    Raises:
        BundleError: `folder` may not be written.
        ConfigError: no such exits.
        RunError: the run has no epoch, its weights are not finite, the exported model differs from torch, or
            it loses too much accuracy in the precision that is wanted.
        DataError: the run's images cannot be read.
    """
    settings = settings or ExportSettings()
    check_target(folder, force=force)
    spec = run.facts.preprocessing.model_copy(update={"decode": settings.decode})
    model, data = run.model(), run.data(batch_size=BATCH_SIZE, spec=spec)
    if not all(weights.isfinite().all() for weights in model.state_dict().values()):
        raise RunError(
            f"{run.folder}: its weights hold NaN or infinity; train again, at a lower --lr perhaps"
        )
    named = None if exits in (None, AUTO) else named_exits(str(exits), model.exits)
    whole, parts, segments = export_whole(model), boundaries(model), segment_flops(model)
    chosen = None if named is None else ExitChoice(named, model.exits)
    if exits == AUTO:
        trial = Trial(_draft(run, data, parts, segments, spec), data, gather_rows=False)
        answers = trial.answers(whole, parts)
        chosen = best_exits(*answers.to_fit_on(MOST_IMAGES), segments)
        tell(str(chosen))
    if chosen is not None and chosen.dropped:
        parts, segments = join_segments(parts, segments, chosen.kept)
        whole = without_other_heads(whole, parts)
    draft = _draft(run, data, parts, segments, spec, chosen)
    trial = Trial(draft, data, gather_rows=settings.gather_rows)
    difference = Difference(model, None if chosen is None else chosen.kept)
    written = write_trial(folder, trial, whole, parts, settings, data, difference.add, force=force, tell=tell)
    return Exported(written.bundle, difference, written.selection, written.kept, chosen)


@dataclass(frozen=True)
class Written:
    """A bundle that was tried before it was written.

    Args:
        bundle: as it was written.
        selection: how the measure and the policy were chosen.
        kept: the layers that an int8 net keeps in float, the worst first.
    """

    bundle: Bundle
    selection: Selection
    kept: tuple[str, ...]


def write_trial(
    folder: Path,
    trial: Trial,
    whole: onnx.ModelProto,
    parts: Sequence[Boundary],
    settings: ExportSettings,
    data: Data,
    check: Check | None,
    *,
    force: bool,
    tell: Callable[[str], None],
) -> Written:
    """Serve a graph to held-out images in the precision that is wanted, and write it with what it answered.

    Args:
        folder: where the bundle goes.
        trial: the graph's; its draft lacks accuracies alone.
        whole: in float32, with every boundary's tensors among its outputs.
        parts: its boundaries.
        settings: the precision among others.
        data: the images that int8 takes its ranges from, and that samples are drawn from.
        check: looks at every batch of the float32 net's answers, if given.
        force: replace a bundle that is there.
        tell: takes a sentence on what is going on, where it is worth one.

    Raises:
        BundleError: `folder` may not be written.
        RunError: `check` raised it, or the net loses too much accuracy in the precision that is wanted.
        DataError: the images cannot be read.
    """
    lowered = Lowered(whole, parts, trial.answers(whole, parts, check))
    held_against = None
    if settings.precision != "float32":
        bar = Bar(lowered.answers.fit_accuracy, settings.max_drop)
        held_against = tuple(lowered.answers.accuracy.tolist())
        lowered = lower(whole, parts, settings, data, trial.answers, bar, tell)
    calibration = calibration_of(lowered.answers)
    draft = trial.draft(lowered.parts)
    selection = select(*lowered.answers.to_fit_on(MOST_IMAGES), draft.exit_flops)
    # Trials run on ONNX Runtime, in the precision of the graph.
    arithmetic = Arithmetic(
        runtime="onnxruntime", precision=settings.precision, instruction_set=instruction_set()
    )
    samples = draw_samples(data, settings.samples, labelled=draft.truth == "labels", tell=tell)
    chosen = {
        "confidence": selection.chosen.measure,
        "policy": selection.chosen.policy,
        "arithmetic": told(arithmetic, format_2=samples is not None or draft.used_format == NEWEST_FORMAT),
    }
    manifest = draft.model_copy(
        update={
            "segments": rated(draft.segments, calibration.accuracy),
            "calibration": draft.calibration.model_copy(update=chosen),
            "precision": settings.precision,
            "licence": settings.licence,
            "float_validation_accuracy": held_against,
        }
    )
    segments = [
        described(segment, manifest, folder.name, number)
        for number, segment in enumerate(trial.segments(lowered.whole, lowered.parts), start=1)
    ]
    bundle = write_bundle(folder, manifest, segments, calibration, samples=samples, force=force)
    return Written(bundle, selection, lowered.kept)


def draft_segments(parts: Sequence[Boundary], flops: Sequence[SegmentFlops]) -> tuple[SegmentSpec, ...]:
    """Return a draft's segments: no checksums yet, and no accuracies."""
    return tuple(
        SegmentSpec(
            file=f"segment_{number}.onnx",
            sha256=UNSEALED,
            inputs=part.inputs,
            outputs=part.outputs,
            body_flops=cost.body,
            head_flops=cost.head,
            validation_accuracy=0,
        )
        for number, (part, cost) in enumerate(zip(parts, flops, strict=True), start=1)
    )


def _draft(
    run: Run,
    data: Data,
    parts: Sequence[Boundary],
    segments: Sequence[SegmentFlops],
    spec: Preprocessing,
    chosen: ExitChoice | None = None,
) -> Manifest:
    """Return the manifest without what is only known later: checksums and accuracies."""
    architecture = run.architecture.describe()
    if chosen is not None and chosen.dropped:
        architecture[EXITS_KEPT] = [index + 1 for index in chosen.kept]
    return Manifest(
        format_version=NEWEST_FORMAT,
        architecture=Named(name=architecture.pop("name"), options=architecture),
        method=Named(name=run.config.method, options=recipe_of(run)),
        data_set=DataSet(
            name=data.name,
            split_seed=data.split.seed,
            train_images=len(data.split.train),
            validation_images=len(data.split.validation),
            validation_share=(
                run.config.validation_share if data.split.validation.part == data.split.train.part else None
            ),
            calibrated_on_test=(
                run.config.validation_share if run.config.validation_from == "test" else None
            ),
            fingerprint=data.split.fingerprint,
            counts_fingerprint=counts_fingerprint(data.part_labels, run.facts.classes),
        ),
        git_revision=git_revision(),
        versions=versions(),
        classes=run.facts.classes,
        preprocessing=spec,
        segments=draft_segments(parts, segments),
        precision="float32",
        calibration=CalibrationSpec(sha256=UNSEALED),
    )
