"""Which runtime a bundle is run on: what is asked for, what is installed, what its answers are known from."""

import pytest

from serving.bundle import Manifest
from serving.bundle.manifest import Arithmetic
from serving.engine.backends import installed, registry
from serving.engine.backends.registry import (
    calibrated_backend,
    candidates,
    inference_precision,
    make_backend,
)
from serving.errors import EngineError
from tests.bundles import tiny_manifest


def there(monkeypatch: pytest.MonkeyPatch, *runtimes: str) -> None:
    for module in (registry, installed):
        monkeypatch.setattr(module, "installed", lambda runtime: runtime in runtimes)


@pytest.fixture(autouse=True)
def _both_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, "onnxruntime", "openvino")
    monkeypatch.setattr(registry, "_has_bfloat16", lambda: True)


def only_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, "onnxruntime")
    monkeypatch.setattr(registry, "_has_bfloat16", lambda: False)


def manifest(precision: str = "float32", calibrated: Arithmetic | None = None) -> Manifest:
    made = tiny_manifest()
    calibration = made.calibration.model_copy(update={"arithmetic": calibrated})
    return made.model_copy(update={"precision": precision, "calibration": calibration})


OPENVINO = Arithmetic(runtime="openvino", precision="float32")
BFLOAT16 = Arithmetic(runtime="openvino", precision="bfloat16")


def test_float_networks_are_tried_on_both_and_known_from_onnx_runtime() -> None:
    assert candidates(manifest(), "auto", "auto") == ("onnxruntime", "openvino")
    assert candidates(manifest(calibrated=OPENVINO), "auto", "auto") == ("onnxruntime", "openvino")


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_openvino_is_for_float32(precision: str) -> None:
    assert candidates(manifest(precision), "auto", "auto") == ("onnxruntime",)
    assert candidates(manifest(precision), "auto", "bfloat16") == ("onnxruntime",)
    with pytest.raises(EngineError, match=f"this one is stored in {precision}: run it on onnxruntime"):
        candidates(manifest(precision), "openvino", "auto")


def test_bfloat16_is_openvino_s() -> None:
    assert candidates(manifest(), "auto", "bfloat16") == ("openvino",)
    assert candidates(manifest(calibrated=BFLOAT16), "auto", "auto") == ("openvino",)
    assert candidates(manifest(calibrated=BFLOAT16), "auto", "float32") == ("onnxruntime", "openvino")


def test_a_gpu_or_providers_by_name_are_onnx_runtime_s() -> None:
    assert candidates(manifest(), "auto", "auto", on_gpu=True) == ("onnxruntime",)
    assert candidates(manifest(), "auto", "auto", providers=["CUDAExecutionProvider"]) == ("onnxruntime",)
    with pytest.raises(EngineError, match="runs on the CPU alone"):
        candidates(manifest(), "openvino", "auto", providers=["CUDAExecutionProvider"])


def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only_onnxruntime(monkeypatch)
    assert candidates(manifest(), "auto", "auto") == ("onnxruntime",)
    assert candidates(manifest(calibrated=BFLOAT16), "auto", "auto") == ("onnxruntime",)
    with pytest.raises(EngineError, match=r"--inference-precision bfloat16 needs OpenVINO: pip install"):
        candidates(manifest(), "auto", "bfloat16")
    with pytest.raises(EngineError, match="needs OpenVINO"):
        make_backend("openvino", "bfloat16")


def test_the_precision_is_the_calibration_s_unless_one_is_asked_for() -> None:
    assert inference_precision(manifest(calibrated=BFLOAT16), "auto", "auto") == "bfloat16"
    assert inference_precision(manifest(calibrated=BFLOAT16), "auto", "onnxruntime") == "float32"
    assert inference_precision(manifest(), "auto", "openvino") == "float32"
    assert inference_precision(manifest(), "bfloat16", "openvino") == "bfloat16"
    assert inference_precision(manifest("int8"), "bfloat16", "openvino") == "float32"


def test_the_backend_of_a_calibration_is_none_where_it_is_not_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = calibrated_backend(manifest())
    assert found is not None
    assert found.name == "onnxruntime"
    there(monkeypatch, "onnxruntime")
    assert calibrated_backend(manifest(calibrated=BFLOAT16)) is None
    assert calibrated_backend(manifest(calibrated=Arithmetic(runtime="tvm", precision="float32"))) is None
