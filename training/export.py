"""`python -m training.export RUN --out BUNDLE`: from a run's last epoch to a bundle that can be served.

The segments are held against torch on real validation images before anything is written, and the calibration
is made of the serving engine's own answers.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from serving.bundle import (
    FORMAT_VERSION,
    UNSEALED,
    Bundle,
    Calibration,
    CalibrationSpec,
    DataSet,
    Manifest,
    Named,
    SegmentSpec,
    check_target,
    write_bundle,
)
from serving.confidence import CONFIDENCE
from serving.engine import Engine
from training import cli
from training.calibration import Labels, Probabilities, calibration_of, collect, engine_probabilities
from training.data import Batch, Data
from training.errors import RunError
from training.flops import segment_flops
from training.models.multi_exit import MultiExitModel
from training.onnx_graph import boundaries, cut, export_whole
from training.provenance import git_revision, versions
from training.recipe import recipe_of
from training.run import Run
from training.selection import MOST_IMAGES, Selection, select, show

MAX_DIFFERENCE = 1e-4
"""How far a probability may be from torch's; float32 rounding stays a hundred times below."""

CHECKED_IMAGES = 256
BATCH_SIZE = 64


@dataclass
class Difference:
    """The largest difference between a probability of the engine and torch's, and on how many images."""

    largest: float = 0.0
    images: int = 0

    def add(self, served: Probabilities, model: MultiExitModel, batch: Batch) -> None:
        """Compare probabilities [n, K, C] of the engine with the model's on the same batch.

        Raises:
            RunError: they differ by more than MAX_DIFFERENCE, or are not numbers.
        """
        with torch.inference_mode():
            expected = torch.stack(model(batch.images), dim=1).float().softmax(dim=-1).numpy()
        apart = np.abs(served - expected).max(axis=(0, 2))
        if not apart.max() <= MAX_DIFFERENCE:  # a NaN has to fail, too
            raise RunError(
                f"exit {int(apart.argmax()) + 1} of the exported model is off by {apart.max():.1e} from "
                f"torch, {MAX_DIFFERENCE:.0e} is allowed; nothing was written. Other versions of torch, "
                "onnxscript or onnxruntime may agree"
            )
        self.largest = max(self.largest, float(apart.max()))
        self.images += len(served)


def export(run: Run, folder: Path, *, force: bool = False) -> tuple[Bundle, Difference, Selection]:
    """Export the last whole epoch of a run to a bundle.

    Args:
        run: a run with at least one whole epoch.
        folder: where the bundle goes; its last part is the model's name in the server.
        force: replace a bundle that is there.

    Returns:
        The bundle, how far it is from torch, and how its measure and its policy were chosen.

    Raises:
        BundleError: `folder` may not be written.
        RunError: the run has no epoch, its weights are not finite, or the exported model differs from torch.
        DataError: the run's validation images cannot be read.
    """
    check_target(folder, force=force)
    model, data = run.model(), run.data(batch_size=BATCH_SIZE)
    if not all(weights.isfinite().all() for weights in model.state_dict().values()):
        raise RunError(
            f"{run.folder}: its weights hold NaN or infinity; train again, at a lower --lr perhaps"
        )
    draft = _draft(run, model, data)
    segments = cut(export_whole(model), boundaries(model))
    difference = Difference()
    with tempfile.TemporaryDirectory() as scratch:
        # The engine runs bundles only; this one lives until its own calibration is known.
        trial = write_bundle(Path(scratch) / folder.absolute().name, draft, segments, _no_calibration(draft))
        engine = Engine(trial, threads=os.cpu_count() or 1)
        batches = track(data.validation(), "calibrating", -(-len(data.split.validation) // BATCH_SIZE))
        answers = collect(_answers(engine, model, batches, difference), data.split.seed)
    calibration = calibration_of(answers)
    selection = select(*answers.to_fit_on(MOST_IMAGES), draft.exit_flops)
    measured = [
        spec.model_copy(update={"validation_accuracy": accuracy})
        for spec, accuracy in zip(draft.segments, calibration.accuracy, strict=True)
    ]
    chosen = {"confidence": selection.chosen.measure, "policy": selection.chosen.policy}
    manifest = draft.model_copy(
        update={"segments": tuple(measured), "calibration": draft.calibration.model_copy(update=chosen)}
    )
    return write_bundle(folder, manifest, segments, calibration, force=force), difference, selection


def _answers(
    engine: Engine, model: MultiExitModel, batches: Iterable[Batch], difference: Difference
) -> Iterator[tuple[Probabilities, Labels]]:
    for batch in batches:
        served = engine_probabilities(engine, batch.images.numpy())
        if difference.images < CHECKED_IMAGES:
            difference.add(served, model, batch)
        yield served, batch.labels.numpy()


def _draft(run: Run, model: MultiExitModel, data: Data) -> Manifest:
    """Return the manifest without what is only known later: checksums and accuracies."""
    architecture = run.architecture.describe()
    return Manifest(
        format_version=FORMAT_VERSION,
        architecture=Named(name=architecture.pop("name"), options=architecture),
        method=Named(name=run.config.method, options=recipe_of(run)),
        data_set=DataSet(
            name=data.name,
            split_seed=data.split.seed,
            train_images=len(data.split.train),
            validation_images=len(data.split.validation),
        ),
        git_revision=git_revision(),
        versions=versions(),
        classes=run.facts.classes,
        preprocessing=run.facts.preprocessing,
        segments=tuple(
            SegmentSpec(
                file=f"segment_{number}.onnx",
                sha256=UNSEALED,
                inputs=part.inputs,
                outputs=part.outputs,
                body_flops=flops.body,
                head_flops=flops.head,
                validation_accuracy=0,
            )
            for number, (part, flops) in enumerate(
                zip(boundaries(model), segment_flops(model), strict=True), start=1
            )
        ),
        precision="float32",
        calibration=CalibrationSpec(sha256=UNSEALED),
    )


def _no_calibration(draft: Manifest) -> Calibration:
    """Return the least that a bundle can be read with: one image, never used."""
    exits = len(draft.segments)
    return Calibration(
        labels=np.zeros(1, np.int64),
        prediction=np.zeros((1, exits), np.int32),
        confidence={measure: np.ones((1, exits), np.float32) for measure in CONFIDENCE},
        temperature={measure: np.ones(exits) for measure in CONFIDENCE},
        certify=np.zeros(1, np.bool_),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Export a run and print what every exit of the bundle costs and gets right."""
    parser = argparse.ArgumentParser(
        prog=cli.program(), description="Export a run to a bundle.", allow_abbrev=False
    )
    parser.add_argument("run", type=Path, help="run folder, made by training.fit")
    parser.add_argument(
        "--out", type=Path, required=True, help="the bundle's folder; its name is the model's"
    )
    parser.add_argument("--force", action="store_true", help="replace the bundle, its whole folder, if there")
    given = parser.parse_args(argv)

    def command() -> None:
        bundle, difference, selection = export(Run.open(given.run), given.out, force=given.force)
        console = Console()
        table = Table("exit", "MFLOPs", "validation accuracy %", "file KB", title=bundle.name)
        for index, flops in enumerate(bundle.manifest.exit_flops):
            accuracy = bundle.manifest.segments[index].validation_accuracy
            size = bundle.segment_path(index).stat().st_size
            table.add_row(str(index + 1), f"{flops / 1e6:.2f}", f"{100 * accuracy:.2f}", f"{size / 1e3:,.0f}")
        console.print(table)
        show(selection, console)
        console.print(
            f"largest difference from torch on {difference.images} validation images: "
            f"{difference.largest:.1e}"
        )
        console.print(f"wrote {given.out}", soft_wrap=True, highlight=False)

    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())
