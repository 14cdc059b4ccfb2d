"""The same net cut shorter: a bundle of the first exits of another."""

from dataclasses import replace
from pathlib import Path

import onnx
from onnx.utils import Extractor

from serving.bundle import Bundle, write_bundle
from training.errors import ConfigError


def shortened(bundle: Bundle, exits: int, folder: Path) -> Bundle:
    """Write a bundle that ends with exit number `exits` of `bundle`, and answers there as that one does.

    Operators of the last segment that served later exits alone are left out of its graph. Its FLOPs are
    stated as before, so that an exit costs the same as in the whole net.

    Args:
        bundle: what is cut.
        exits: how many exits are left, at least one.
        folder: where the shorter bundle goes; its last part is its name.

    Raises:
        ConfigError: there are not so many exits.
        BundleError: `folder` may not be written.
    """
    manifest, calibration = bundle.manifest, bundle.calibration
    if not 1 <= exits <= len(manifest.segments):
        raise ConfigError(f"expected 1 to {len(manifest.segments)} exits to be left, found {exits}")
    *earlier, last = manifest.segments[:exits]
    graph = onnx.load_from_string(bundle.segment_bytes(exits - 1))
    answer = Extractor(graph).extract_model([spec.name for spec in last.inputs], [last.outputs[0].name])
    held_against = manifest.float_validation_accuracy
    draft = manifest.model_copy(
        update={
            "segments": (*earlier, last.model_copy(update={"outputs": last.outputs[:1]})),
            "float_validation_accuracy": held_against and held_against[:exits],
        }
    )
    cut = replace(
        calibration,
        prediction=calibration.prediction[:, :exits],
        confidence={name: values[:, :exits] for name, values in calibration.confidence.items()},
        temperature={name: values[:exits] for name, values in calibration.temperature.items()},
    )
    graphs = [bundle.segment_bytes(index) for index in range(exits - 1)]
    segments = [*graphs, answer.SerializeToString(deterministic=True)]
    return write_bundle(folder, draft, segments, cut, samples=bundle.samples)
