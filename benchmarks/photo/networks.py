"""The measured networks: torchvision's at 224 pixels with exits, and a cascade of two, with random weights.

A network's speed does not depend on its weights, but the exits of its images do. So BatchNorm is estimated on
the pool, the heads' logits are spread, and thresholds are fitted on the engine's own answers to the very
pictures that are sent: a budget then has the same exit shares in every round. No accuracy is claimed.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from benchmarks.methods.poster_bundle import calibrate, spread_logits
from benchmarks.speed import assets
from benchmarks.speed.assets import Net, full_depth
from serving.bundle import (
    FORMAT_VERSION,
    UNSEALED,
    Bundle,
    CalibrationSpec,
    DataSet,
    Manifest,
    Named,
    Preprocessing,
    read_bundle,
    write_bundle,
)
from serving.bundle.manifest import Precision
from serving.images.decode import decode
from training.adopting.assembling import Member, cascade
from training.adopting.network.loading import exported
from training.adopting.network.network import network
from training.calibration.collect import unknown_calibration
from training.data.normalising import normalisation
from training.data.opening import preprocessing
from training.exporting.export import draft_segments
from training.exporting.graph import Boundary, boundaries, export_whole, split_at_boundaries
from training.exporting.int8 import quantize
from training.models.architectures import torchvision_nets
from training.models.flops import SegmentFlops, segment_flops
from training.models.registry import architecture

from . import pictures

SIDE = 224
CLASSES = 1000
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
_BATCH = 8
_QUANTISING_BATCHES = 4
_NORM_IMAGES = 32
_MAX_PIXELS = 25_000_000

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Exits:
    """A torchvision network and the layers that its early exits follow."""

    network: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Cascade:
    """Two of torchvision's networks, one after the other."""

    small: str
    large: str


NETWORKS: dict[str, Exits | Cascade] = {
    "resnet50": Exits("resnet50", ("layer1", "layer2", "layer3")),
    "mobilenet_v3_large": Exits("mobilenet_v3_large", ("features.4", "features.10", "features.12")),
    "convnext_tiny": Exits("convnext_tiny", ("features.1", "features.3", "features.5")),
    "cascade": Cascade("mobilenet_v3_large", "resnet50"),
}


@dataclass(frozen=True)
class Made:
    """A network in both precisions, and the pictures that it is measured on.

    Args:
        name: of the network.
        nets: by precision.
        files: the pictures as JPEG.
        pixels: the same as the network takes them, uint8 [N, 224, 224, 3].
    """

    name: str
    nets: Mapping[str, Net]
    files: Sequence[bytes]
    pixels: Images


def made(name: str, work: Path, precisions: Sequence[Precision] = PRECISIONS) -> Made:
    """Make a network's bundles and full graphs, or take those of an earlier run of the same code.

    Args:
        name: in `NETWORKS`.
        work: the build folder.
        precisions: the ones wanted.
    """
    folder = work / f"photo-{_key()}"
    files = _pool(folder / "jpegs")
    pixels = np.stack([decode(data, preprocessing(SIDE), _MAX_PIXELS) for data in files])
    nets = {}
    for precision in precisions:
        bundle = folder / name / precision
        full = folder / name / f"full-{precision}.onnx"
        if not full.exists():
            shutil.rmtree(bundle, ignore_errors=True)
            _make(NETWORKS[name], bundle, precision, pixels)
            onnx.save(full_depth(read_bundle(bundle)), full)
        nets[precision] = Net(bundle, full)
    return Made(name, nets, files, pixels)


def _pool(folder: Path) -> list[bytes]:
    complete = folder / "complete"
    if not complete.exists():
        pictures.write(folder)
        complete.touch()
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def _key() -> str:
    """Changes with the code that makes networks and pictures."""
    own = [Path(__file__), Path(pictures.__file__)]
    return sha256(b"".join(path.read_bytes() for path in (*assets.sources(), *own))).hexdigest()[:8]


def _make(what: Exits | Cascade, folder: Path, precision: Precision, pixels: Images) -> None:
    whole, parts, flops = _with_exits(what, pixels) if isinstance(what, Exits) else _cascade(what, pixels)
    if precision == "int8":
        batches = np.array_split(pixels[: _BATCH * _QUANTISING_BATCHES], _QUANTISING_BATCHES)
        whole, parts = quantize(whole, parts, batches, reduce_range=True)
    write(folder, what, split_at_boundaries(whole, parts), parts, flops, pixels, precision=precision)


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
    graph = cascade(members, preprocessing(SIDE), CLASSES)
    return graph.whole, graph.parts, graph.flops


def write(
    folder: Path,
    what: Exits | Cascade,
    segments: Sequence[bytes],
    parts: Sequence[Boundary],
    flops: Sequence[SegmentFlops],
    pixels: Images,
    *,
    precision: Precision,
    spec: Preprocessing | None = None,
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
        spec: of its images; torchvision's usual if None.
    """
    draft = Manifest(
        format_version=FORMAT_VERSION,
        architecture=Named(name=str(what)),
        method=Named(name="none"),
        data_set=DataSet(name="noise"),
        classes=tuple(f"class_{number:03d}" for number in range(CLASSES)),
        preprocessing=spec or preprocessing(SIDE),
        segments=draft_segments(parts, flops),
        precision=precision,
        float_validation_accuracy=None if precision == "float32" else (1.0,) * len(parts),
        calibration=CalibrationSpec(sha256=UNSEALED),
    )
    trial = write_bundle(folder, draft, segments, unknown_calibration(len(parts)), force=True)
    calibration = calibrate(trial, pixels)
    rated = [
        spec.model_copy(update={"validation_accuracy": share})
        for spec, share in zip(draft.segments, calibration.accuracy, strict=True)
    ]
    return write_bundle(
        folder, draft.model_copy(update={"segments": tuple(rated)}), segments, calibration, force=True
    )
