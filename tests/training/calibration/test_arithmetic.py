"""The arithmetic that goes without saying keeps a bundle in format 1."""

import pytest

from serving.bundle.manifest import Arithmetic
from training.calibration.arithmetic import told


@pytest.mark.parametrize(
    ("runtime", "precision", "format_2", "says"),
    [
        ("onnxruntime", "float32", False, False),
        ("onnxruntime", "float32", True, True),
        ("onnxruntime", "int8", False, True),
        ("openvino", "float32", False, True),
    ],
)
def test_only_onnx_runtime_in_float32_goes_without_saying(
    runtime: str, precision: str, format_2: bool, says: bool
) -> None:
    arithmetic = Arithmetic(runtime=runtime, precision=precision, instruction_set="avx2")
    assert told(arithmetic, format_2=format_2) == (arithmetic if says else None)
