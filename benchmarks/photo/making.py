"""Makes the bundles of the measured networks; only where they are missing, since it brings torch along."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from benchmarks.methods.poster_bundle import calibrate, spread_logits
from benchmarks.speed.assets import full_depth
from serving.bundle import (
    FORMAT_VERSION,
    UNSEALED,
    Bundle,
    CalibrationSpec,
    DataSet,
    Manifest,
    Named,
    write_bundle,
)
from serving.bundle.manifest import Precision
from training.adopting.assembling import Member, cascade
from training.adopting.network.loading import exported
from training.adopting.network.network import network
from training.calibration.collect import rated, unknown_calibration
from training.data.normalising import normalisation
from training.exporting.export import draft_segments
from training.exporting.graph import Boundary, boundaries, export_whole, split_at_boundaries
from training.exporting.int8 import quantize
from training.models.architectures import torchvision_nets
from training.models.flops import SegmentFlops, segment_flops
from training.models.registry import architecture

from .networks import SIDE, SPEC, Cascade, Exits, Images

CLASSES = 1000
_BATCH = 8
_QUANTISING_BATCHES = 4
_NORM_IMAGES = 32


def make(what: Exits | Cascade, folder: Path, full: Path, precision: Precision, pixels: Images) -> None:
    """Write a network's bundle, and its full depth as one graph.

    Args:
        what: the network.
        folder: where the bundle goes.
        full: where the graph goes.
        precision: of both.
        pixels: the pool, uint8 [N, 224, 224, 3].
    """
    whole, parts, flops = _with_exits(what, pixels) if isinstance(what, Exits) else _cascade(what, pixels)
    if precision == "int8":
        batches = np.array_split(pixels[: _BATCH * _QUANTISING_BATCHES], _QUANTISING_BATCHES)
        whole, parts = quantize(whole, parts, batches, reduce_range=True)
    segments = split_at_boundaries(whole, parts)
    bundle = _write(folder, what, segments, parts, flops, pixels, precision=precision)
    onnx.save(full_depth(bundle), full)


Assembled = tuple[onnx.ModelProto, list[Boundary], list[SegmentFlops]]


def _with_exits(what: Exits, pixels: Images) -> Assembled:
    torch.manual_seed(0)
    model = architecture(f"torchvision:{what.network}", {"exits": ",".join(what.layers)}).model(CLASSES)
    heads = [model.segment(index).head for index in range(model.exits)]
    spread_logits(model, heads, torch.from_numpy(pixels[:_NORM_IMAGES]))
    return export_whole(model), boundaries(model), segment_flops(model)


def _cascade(what: Cascade, pixels: Images) -> Assembled:
    imagenet = normalisation("imagenet")
    scale, offset = (torch.tensor(values).view(3, 1, 1) for values in (imagenet.scale, imagenet.offset))
    taken = torch.from_numpy(pixels[:_NORM_IMAGES]).permute(0, 3, 1, 2) * scale + offset
    members = []
    for number, name in enumerate((what.small, what.large)):
        torch.manual_seed(number)
        net = torchvision_nets.build(name, CLASSES, SIDE)
        spread_logits(net, [net], taken)
        members.append(Member(network(exported(name, net, SIDE)), imagenet))
    graph = cascade(members, SPEC, CLASSES)
    return graph.whole, graph.parts, graph.flops


def _write(
    folder: Path,
    what: Exits | Cascade,
    segments: Sequence[bytes],
    parts: Sequence[Boundary],
    flops: Sequence[SegmentFlops],
    pixels: Images,
    *,
    precision: Precision,
) -> Bundle:
    """Write a bundle that is calibrated on the engine's own answers, all of them for fitting.

    Args:
        folder: where it goes.
        what: the network.
        segments: the ONNX files, cut at the parts.
        parts: the boundaries.
        flops: of each segment.
        pixels: the pool, uint8 [N, 224, 224, 3].
        precision: of the segments; int8 claims the same accuracy in float, which was not measured.
    """
    draft = Manifest(
        format_version=FORMAT_VERSION,
        architecture=Named(name=str(what)),
        method=Named(name="none"),
        data_set=DataSet(name="noise"),
        classes=tuple(f"class_{number:03d}" for number in range(CLASSES)),
        preprocessing=SPEC,
        segments=draft_segments(parts, flops),
        precision=precision,
        float_validation_accuracy=None if precision == "float32" else (1.0,) * len(parts),
        calibration=CalibrationSpec(sha256=UNSEALED),
    )
    trial = write_bundle(folder, draft, segments, unknown_calibration(len(parts)), force=True)
    calibration = calibrate(trial, pixels)
    final = draft.model_copy(update={"segments": rated(draft.segments, calibration.accuracy)})
    return write_bundle(folder, final, segments, calibration, force=True)
