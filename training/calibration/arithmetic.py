"""What a manifest says of the arithmetic of its calibration."""

from serving.bundle.manifest import Arithmetic


def told(arithmetic: Arithmetic, *, format_2: bool) -> Arithmetic | None:
    """Return what the manifest is to say; None for ONNX Runtime in float32 in a bundle of format 1.

    That goes without saying, and servers of the release before take bundles of format 1 alone.

    Args:
        arithmetic: of the calibration.
        format_2: whether the bundle is of format 2 for other reasons.
    """
    plain = (arithmetic.runtime, arithmetic.precision) == ("onnxruntime", "float32")
    return None if plain and not format_2 else arithmetic
