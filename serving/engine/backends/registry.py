"""The runtimes by name: which are installed, and which of them a bundle is to be run on."""

from collections.abc import Sequence
from typing import get_args

from serving.bundle.manifest import Arithmetic, Manifest
from serving.engine.backends.installed import installed, refuse_missing
from serving.engine.backends.interface import Backend
from serving.engine.backends.names import AskedPrecision, AskedRuntime, InferencePrecision, RuntimeName
from serving.engine.backends.onnx_backend import OnnxBackend
from serving.engine.providers import CPU
from serving.errors import EngineError
from serving.system.processor import instruction_set


def calibrated_for(manifest: Manifest) -> Arithmetic:
    """The arithmetic of a bundle's calibration; a bundle that does not say was calibrated on ONNX Runtime."""
    found = manifest.calibration.arithmetic
    return found or Arithmetic(runtime="onnxruntime", precision=manifest.precision)


def arithmetic_of(backend: Backend, manifest: Manifest) -> Arithmetic:
    """What a bundle is computed with on this machine, by a backend; known before it is opened."""
    lowest = manifest.precision
    return Arithmetic(
        runtime=backend.name,
        precision=backend.precision if lowest == "float32" else lowest,
        instruction_set=instruction_set(),
    )


def inference_precision(
    manifest: Manifest, asked: AskedPrecision, runtime: AskedRuntime
) -> InferencePrecision:
    """The precision that a bundle's float32 is computed in.

    One that is stored in int8 or float16 keeps its own, whatever is asked for: what is float in it stays so.

    Args:
        manifest: of the bundle.
        asked: `auto` takes that of the calibration, where it can be had.
        runtime: what is to run it.
    """
    if manifest.precision != "float32":
        return "float32"
    if asked != "auto":
        return asked
    wished = calibrated_for(manifest).precision == "bfloat16"
    return "bfloat16" if wished and runtime != "onnxruntime" and _has_bfloat16() else "float32"


def candidates(
    manifest: Manifest,
    runtime: AskedRuntime,
    precision: AskedPrecision,
    *,
    providers: Sequence[str] | None = None,
    on_gpu: bool = False,
) -> tuple[RuntimeName, ...]:
    """The runtimes to try for a bundle; the first is the one that its answers are known from.

    OpenVINO is for networks in float32: of those in int8 it computes other answers (docs/runtimes.md). `auto`
    tries both runtimes, since in float32 they differ by rounding alone. bfloat16 is OpenVINO's.

    Args:
        manifest: of the bundle.
        runtime: what is asked for.
        precision: what is asked for.
        providers: execution providers that were asked for by name.
        on_gpu: whether features, or the network, belong on a GPU.

    Raises:
        EngineError: what is asked for is not installed, contradicts the providers, or is not for this bundle.
    """
    refuse_missing(runtime, precision)
    refuse_unfit_precision(manifest, runtime)
    foreign = on_gpu or any(name != CPU for name in providers or ())
    if runtime == "openvino" and foreign:
        raise EngineError(
            "--runtime openvino runs on the CPU alone: it goes with neither --providers nor "
            "--device-features on"
        )
    if runtime != "auto":
        return (runtime,)
    if inference_precision(manifest, precision, runtime) == "bfloat16":
        return ("openvino",)
    if foreign or not installed("openvino") or manifest.precision != "float32":
        return ("onnxruntime",)
    return ("onnxruntime", "openvino")


def refuse_unfit_precision(manifest: Manifest, runtime: AskedRuntime) -> None:
    """Refuse to run a bundle that is stored in int8 or float16 on OpenVINO.

    Raises:
        EngineError: it is.
    """
    if runtime == "openvino" and manifest.precision != "float32":
        raise EngineError(
            f"OpenVINO is for bundles in float32, and this one is stored in {manifest.precision}: run it on "
            "onnxruntime (--runtime onnxruntime, or auto)"
        )


def make_backend(
    runtime: RuntimeName, precision: InferencePrecision, providers: Sequence[str] | None = None
) -> Backend:
    """Set a runtime up.

    Raises:
        EngineError: it is not installed, or does not have the precision.
    """
    refuse_missing(runtime, precision)
    if runtime == "onnxruntime":
        return OnnxBackend(providers)
    # Only who asks for it needs what it imports.
    from serving.engine.backends.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(precision)


def calibrated_backend(manifest: Manifest) -> Backend | None:
    """Set up the runtime and precision of a bundle's calibration; None where they are not to be had here."""
    calibrated = calibrated_for(manifest)
    precision: InferencePrecision = "bfloat16" if calibrated.precision == "bfloat16" else "float32"
    for name in get_args(RuntimeName):
        if name == calibrated.runtime:
            try:
                return make_backend(name, precision)
            except EngineError:
                return None
    return None


def _has_bfloat16() -> bool:
    if not installed("openvino"):
        return False
    from serving.engine.backends.openvino_backend import computes_bfloat16

    return computes_bfloat16()
