"""The bundles of a network: in each precision one for features on the host, and one for the device.

All of them have the calibration of the first, the engine's own answers in float32 to the very images that are
sent: thresholds are the same everywhere, and answers can be compared. `offramp export` calibrates each
precision on its own answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.methods.poster_bundle import calibrate
from serving.bundle import (
    FORMAT_VERSION,
    UNSEALED,
    CalibrationSpec,
    DataSet,
    Manifest,
    Named,
    read_bundle,
    write_bundle,
)
from serving.bundle.manifest import Precision
from serving.engine.device import FeaturesOn
from training.calibration.collect import rated, unknown_calibration
from training.exporting.export import draft_segments
from training.exporting.float16 import halve
from training.exporting.graph import boundaries, export_whole, gathering, split_at_boundaries
from training.models.flops import segment_flops

from .networks import Images, Network, pictures

FEATURES: tuple[FeaturesOn, ...] = ("host", "device")


@dataclass(frozen=True)
class Cuts:
    """The bundles of one network, and the images that are sent to it.

    Args:
        name: of the network.
        images: uint8 [N, H, W, 3].
        folders: of the bundles, by precision and the place of features.
    """

    name: str
    images: Images
    folders: Mapping[tuple[Precision, FeaturesOn], Path]


def written(net: Network, precisions: Sequence[Precision], folder: Path) -> Cuts:
    """Export a network once, and write its bundles.

    Args:
        net: the network.
        precisions: those wanted, float32 or float16.
        folder: where the bundles go.
    """
    whole, parts, flops = export_whole(net.model), boundaries(net.model), segment_flops(net.model)
    classes = parts[0].outputs[0].shape[1] or 0
    draft = Manifest(
        format_version=FORMAT_VERSION,
        architecture=Named(name=net.name),
        method=Named(name="none"),
        data_set=DataSet(name="noise"),
        classes=tuple(f"class_{number:03d}" for number in range(classes)),
        preprocessing=net.spec,
        segments=draft_segments(parts, flops),
        precision="float32",
        calibration=CalibrationSpec(sha256=UNSEALED),
    )
    trial = write_bundle(
        folder / "trial", draft, split_at_boundaries(whole, parts), unknown_calibration(len(parts))
    )
    calibration = calibrate(trial, net.images)
    folders: dict[tuple[Precision, FeaturesOn], Path] = {}
    for precision in precisions:
        graph, ends = (whole, parts) if precision == "float32" else halve(whole, parts)
        for place in FEATURES:
            cut_at = gathering(ends) if place == "device" else ends
            changes = {
                "segments": rated(draft_segments(cut_at, flops), calibration.accuracy),
                "precision": precision,
                "float_validation_accuracy": None if precision == "float32" else calibration.accuracy,
            }
            target = folder / f"{net.name}-{precision}-{place}"
            write_bundle(
                target, draft.model_copy(update=changes), split_at_boundaries(graph, cut_at), calibration
            )
            folders[precision, place] = target
    return Cuts(net.name, net.images, folders)


def given(host: Path, device: Path, count: int) -> Cuts:
    """Take two bundles that are there.

    Args:
        host: one of any kind.
        device: the same net with segments that gather rows.
        count: of the images that are sent: noise of its size.
    """
    manifest = read_bundle(host).manifest
    folders: dict[tuple[Precision, FeaturesOn], Path] = {
        (manifest.precision, "host"): host,
        (manifest.precision, "device"): device,
    }
    return Cuts(host.name, pictures(manifest.preprocessing, count), folders)
