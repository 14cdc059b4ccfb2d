"""Which runtimes are installed; imports neither of them."""

from importlib.util import find_spec

from serving.engine.backends.names import AskedPrecision, AskedRuntime, RuntimeName
from serving.errors import EngineError

_INSTALL = "pip install 'offramp[openvino]'"


def installed(runtime: RuntimeName) -> bool:
    """Whether a runtime can be imported."""
    return runtime == "onnxruntime" or find_spec("openvino") is not None


def refuse_missing(runtime: AskedRuntime, precision: AskedPrecision = "auto") -> None:
    """Refuse a runtime that is not installed, or a precision that the one asked for does not have.

    Raises:
        EngineError: names what to install, or what to ask for.
    """
    if precision == "bfloat16" and runtime == "onnxruntime":
        raise EngineError(
            "ONNX Runtime computes no bfloat16 on CPUs: give --runtime openvino, or leave "
            "--inference-precision away"
        )
    needed = runtime == "openvino" or precision == "bfloat16"
    if needed and not installed("openvino"):
        flag = "--runtime openvino" if runtime == "openvino" else "--inference-precision bfloat16"
        raise EngineError(f"{flag} needs OpenVINO: {_INSTALL}")
