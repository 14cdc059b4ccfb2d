"""A runtime that is missing is named with the line that installs it."""

import pytest

from serving.engine.backends import installed
from serving.engine.backends.installed import refuse_missing
from serving.errors import EngineError


@pytest.mark.parametrize(
    ("runtime", "precision", "flag"),
    [("openvino", "auto", "--runtime openvino"), ("auto", "bfloat16", "--inference-precision bfloat16")],
)
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, runtime: str, precision: str, flag: str
) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=rf"{flag} needs OpenVINO: pip install 'offramp\[openvino\]'"):
        refuse_missing(runtime, precision)  # type: ignore[arg-type] # the parameters of the test are texts
    refuse_missing("auto")


def test_onnx_runtime_computes_no_bfloat16() -> None:
    with pytest.raises(EngineError, match="ONNX Runtime computes no bfloat16"):
        refuse_missing("onnxruntime", "bfloat16")
