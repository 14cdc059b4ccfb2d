"""A bundle of the poster's size, for measuring speed: MSDNet with seven exits and random weights.

    python -m benchmarks.methods.poster_bundle exported_models/msdnet7 --pngs runs/pool

A net's speed does not depend on its weights, but the exits of its images do. So the weights are
seeded, BatchNorm is estimated on seeded images (activations neither die nor explode), and the heads' logits
are spread (confidences differ from image to image). The calibration holds the engine's own answers on a
seeded pool, all of it for fitting: on that pool, thresholds give the geometric shares exactly.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from serving.bundle import (
    FORMAT_VERSION,
    UNSEALED,
    Bundle,
    Calibration,
    CalibrationSpec,
    DataSet,
    Manifest,
    Named,
    Preprocessing,
    write_bundle,
)
from serving.bundle.manifest import Precision
from serving.engine.engine import Engine
from training.calibration.collect import (
    Probabilities,
    calibration_of,
    collect,
    engine_probabilities,
    rated,
    unknown_calibration,
)
from training.exporting.export import draft_segments
from training.exporting.graph import Boundary, boundaries, export_whole, gathering, split_at_boundaries
from training.models.flops import segment_flops
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture

CLASSES = 100
POOL = 2000
"""Images of the pool, by default."""

_SIDE = 32
_NORM_IMAGES = 128
_LOGIT_SPREAD = 3.0  # standard deviation: the likeliest class then has a probability of 0.1 to 1
_BATCH = 32

Images = npt.NDArray[np.uint8]


def pool(count: int = POOL, seed: int = 0) -> Images:
    """Smooth noise of differing contrast, uint8 [count, 32, 32, 3]; a larger pool begins as a smaller one."""
    return np.stack([_image(np.random.default_rng((seed, number))) for number in range(count)])


def _image(random: np.random.Generator) -> Images:
    side = int(random.integers(3, 9))
    coarse = random.normal(128, random.uniform(20, 90), (side, side, 3)).clip(0, 255).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    grain = random.normal(0, random.uniform(0, 8), (_SIDE, _SIDE, 3))
    return (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)


def poster_model(seed: int = 0) -> MultiExitModel:
    """MSDNet-7 with random weights whose answers differ from image to image, on the CPU, for evaluation."""
    torch.manual_seed(seed)
    model: MultiExitModel = architecture("msdnet").model(CLASSES)
    heads = [model.segment(index).head for index in range(model.exits)]
    spread_logits(model, heads, torch.from_numpy(pool(_NORM_IMAGES, seed + 1)))
    return model


def spread_logits(model: nn.Module, heads: Sequence[nn.Module], images: Tensor) -> None:
    """Estimate BatchNorm on images and scale every head's last layer, so that answers differ by image.

    Args:
        model: with random weights; it is left in evaluation mode.
        heads: of its exits; their last linear layers make the logits.
        images: as the model takes them.
    """
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over what follows
    with torch.no_grad():
        model.train()(images)
        logits = model.eval()(images)
        for head, values in zip(heads, logits if isinstance(logits, list) else [logits], strict=True):
            linear = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
            scale = _LOGIT_SPREAD / values.std(dim=0).mean()
            linear.weight.mul_(scale)
            linear.bias.sub_(values.mean(dim=0)).mul_(scale)


def manifest(
    model: MultiExitModel, parts: Sequence[Boundary], calibration: Calibration | None = None
) -> Manifest:
    """The draft that fits the model cut into parts; accuracies are those of the calibration."""
    accuracy = (0.0,) * len(parts) if calibration is None else calibration.accuracy
    return Manifest(
        format_version=FORMAT_VERSION,
        architecture=Named(name="msdnet"),
        method=Named(name="none"),
        data_set=DataSet(name="noise"),
        classes=tuple(f"class_{number:02d}" for number in range(CLASSES)),
        preprocessing=Preprocessing(height=_SIDE, width=_SIDE),
        segments=rated(draft_segments(parts, segment_flops(model)), accuracy),
        precision="float32",
        calibration=CalibrationSpec(sha256=UNSEALED),
    )


def calibrate(bundle: Bundle, images: Images, threads: int = 0) -> Calibration:
    """The engine's own answers on the pool, all for fitting; the last exit counts as the truth."""
    engine = Engine(bundle, threads=threads)

    def answers() -> Iterator[tuple[Probabilities, npt.NDArray[np.int64]]]:
        for start in range(0, len(images), _BATCH):
            said = engine_probabilities(engine, images[start : start + _BATCH])
            yield said, said[:, -1].argmax(axis=1)

    gathered = collect(answers())
    return calibration_of(replace(gathered, certify=np.zeros(len(images), np.bool_)))


def make(
    folder: Path,
    *,
    images: Images | None = None,
    seed: int = 0,
    gather_rows: bool = False,
    force: bool = False,
) -> Bundle:
    """Write the bundle.

    Args:
        folder: where it goes.
        images: the pool, uint8 [N, 32, 32, 3]; `pool()` if None.
        seed: of the weights.
        gather_rows: whether segments gather the survivors themselves, as for GPUs.
        force: replace what is there.
    """
    model = poster_model(seed)
    parts = gathering(boundaries(model)) if gather_rows else boundaries(model)
    segments = split_at_boundaries(export_whole(model), parts)
    return write(folder, model, segments, parts, pool() if images is None else images, force=force)


def write(
    folder: Path,
    model: MultiExitModel,
    segments: Sequence[bytes],
    parts: Sequence[Boundary],
    images: Images,
    *,
    precision: Precision = "float32",
    force: bool = False,
) -> Bundle:
    """Write a bundle of a model's segments, calibrated on the engine's own answers.

    Args:
        folder: where it goes.
        model: gives the costs of exits.
        segments: the ONNX files, cut at the parts.
        parts: the boundaries.
        images: the pool, uint8 [N, 32, 32, 3].
        precision: of the segments; int8 claims the same accuracy in float, which was not measured.
        force: replace what is there.
    """
    held_against = None if precision == "float32" else (1.0,) * len(parts)
    changes = {"precision": precision, "float_validation_accuracy": held_against}
    draft = manifest(model, parts).model_copy(update=changes)
    trial = write_bundle(folder, draft, segments, unknown_calibration(len(parts)), force=force)
    calibration = calibrate(trial, images)
    final = manifest(model, parts, calibration).model_copy(update=changes)
    return write_bundle(folder, final, segments, calibration, force=True)


def write_pngs(folder: Path, images: Images) -> None:
    """Write images as PNG files, numbered in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:05d}.png")


def main() -> None:
    """Make the bundle and, where asked, the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--pool", type=int, default=POOL, help="images of the pool")
    parser.add_argument("--pngs", type=Path, help="a folder for the first images of the pool as PNG files")
    parser.add_argument("--png-count", type=int, default=512, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    parser.add_argument("--gather-rows", action="store_true", help="for GPUs: segments gather survivors")
    parser.add_argument("--force", action="store_true", help="replace the bundle")
    given = parser.parse_args()
    images = pool(given.pool)
    bundle = make(
        given.bundle,
        images=images,
        seed=given.seed,
        gather_rows=given.gather_rows,
        force=given.force,
    )
    if given.pngs:
        write_pngs(given.pngs, images[: given.png_count])
    confidence = bundle.calibration.confidence["max_probability"]
    for number, (flops, column) in enumerate(
        zip(bundle.manifest.exit_flops, confidence.T, strict=True), start=1
    ):
        low, middle, high = np.quantile(column, [0.1, 0.5, 0.9])
        print(
            f"exit {number}: {flops / 1e6:6.1f} MFLOPs, confidence {low:.2f} / {middle:.2f} / {high:.2f} "
            f"(10%, 50%, 90%), {len(np.unique(column))} different of {len(column)}"
        )


if __name__ == "__main__":
    main()
