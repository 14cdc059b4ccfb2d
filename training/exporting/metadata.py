"""What an ONNX file says of itself: what it is, where it comes from, its classes and its licence.

The names are ONNX's own where it has them (`producer_name`, `doc_string`, `model_license`); the others are
keys of the manifest.
"""

import json

import onnx
from onnx import helper

from serving.bundle import Manifest


def described(segment: bytes, manifest: Manifest, name: str, number: int) -> bytes:
    """Write the metadata of a segment into its file.

    Args:
        segment: the ONNX file.
        manifest: of the bundle that it goes into.
        name: of the bundle.
        number: of the segment's exit, from 1.

    Returns:
        The file with metadata; its graph is as it was.
    """
    model = onnx.load_from_string(segment)
    model.producer_name = "offramp"
    model.producer_version = manifest.versions.get("offramp", "")
    model.doc_string = (
        f"Exit {number} of {len(manifest.segments)} of {name}: an image classifier with early exits "
        f"({manifest.architecture.name}, {manifest.precision})."
    )
    helper.set_model_props(
        model,
        {
            "name": name,
            "exit": str(number),
            "method": manifest.method.name,
            "data_set": manifest.data_set.name,
            "git_revision": manifest.git_revision or "unknown",
            "classes": json.dumps(manifest.classes, ensure_ascii=False),
            "model_license": manifest.licence or "unknown",
        },
    )
    written: bytes = model.SerializeToString(deterministic=True)
    return written
