"""A bundle that runs in another arithmetic than it was calibrated in says so, and by how much."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from serving.bundle import Bundle, write_bundle
from serving.bundle.manifest import Arithmetic
from serving.bundle.samples import Samples
from serving.engine import arithmetic
from serving.engine.arithmetic import differs, hold_against_calibration
from serving.engine.backends import registry
from serving.engine.engine import Engine
from tests.bundles import tiny_bundle, tiny_calibration, tiny_images, tiny_manifest, tiny_segments


def computed(runtime: str, precision: str, instructions: str | None = None) -> Arithmetic:
    return Arithmetic(runtime=runtime, precision=precision, instruction_set=instructions)


def calibrated(folder: Path, by: Arithmetic) -> Bundle:
    draft = tiny_manifest()
    calibration = draft.calibration.model_copy(update={"arithmetic": by})
    return write_bundle(
        folder, draft.model_copy(update={"calibration": calibration}), tiny_segments(), tiny_calibration()
    )


def with_images(bundle: Bundle, images: npt.NDArray[np.uint8]) -> Bundle:
    files = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    return replace(bundle, samples=Samples(tuple(files)))


@pytest.mark.parametrize(
    ("calibration", "engine", "expected"),
    [
        (("onnxruntime", "float32", "avx2"), ("onnxruntime", "float32", "avx512_vnni"), False),
        (("onnxruntime", "float32", None), ("openvino", "float32", None), True),
        (("openvino", "bfloat16", "amx"), ("openvino", "float32", "amx"), True),
        (("openvino", "bfloat16", "amx"), ("openvino", "bfloat16", "avx512_bf16"), True),
        (("onnxruntime", "int8", "avx2"), ("onnxruntime", "int8", "avx512_vnni"), True),
        (("onnxruntime", "int8", None), ("onnxruntime", "int8", "avx512_vnni"), False),
    ],
)
def test_runtime_and_precision_count_and_instructions_below_float32(
    calibration: tuple[str, str, str | None], engine: tuple[str, str, str | None], expected: bool
) -> None:
    assert differs(computed(*calibration), computed(*engine)) is expected


def test_a_bundle_that_does_not_say_was_calibrated_on_onnx_runtime(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    assert hold_against_calibration(bundle, Engine(bundle)) is None


def test_without_stored_images_the_difference_is_said_alone(tmp_path: Path) -> None:
    bundle = calibrated(tmp_path / "tiny", computed("openvino", "bfloat16", "amx"))
    found = hold_against_calibration(bundle, Engine(bundle))
    assert found is not None
    assert not found.only_rounding
    assert str(found).startswith("calibrated for openvino, bfloat16 (amx), runs on onnxruntime, float32")
    assert "offramp calibrate --runtime" in str(found)
    assert found.images == 0


def test_with_stored_images_the_largest_difference_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine of the calibration is one of other weights here, so that the two differ by a lot."""
    bundle = with_images(calibrated(tmp_path / "tiny", computed("openvino", "bfloat16")), tiny_images(10))
    other = tiny_bundle(tmp_path / "other", seed=3)
    monkeypatch.setattr(arithmetic, "_as_calibrated", lambda *asked: _Claims(other))
    found = hold_against_calibration(bundle, Engine(bundle))
    assert found is not None
    assert found.images == 10
    assert found.largest > 0.05
    assert 0 < found.changed <= 1
    assert "on its 10 stored images confidences differ by up to" in str(found)


def test_an_engine_that_is_open_already_stands_for_the_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = with_images(calibrated(tmp_path / "tiny", computed("openvino", "bfloat16")), tiny_images(10))
    served, other = Engine(bundle), _Claims(tiny_bundle(tmp_path / "other", seed=3))
    monkeypatch.setattr(arithmetic, "_as_calibrated", _refuse)
    found = hold_against_calibration(bundle, served, opened=[served, other])
    assert found is not None
    assert found.images == 10
    assert found.largest > 0.05


def test_nothing_is_opened_where_the_calibration_s_instructions_are_not_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by = computed("onnxruntime", "int8", "of_another_machine")
    bundle = with_images(calibrated(tmp_path / "tiny", by), tiny_images(2))
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"precision": "int8"}))
    monkeypatch.setattr(registry, "instruction_set", lambda: "of_this_machine")
    served = Engine(bundle)
    monkeypatch.setattr(arithmetic, "Engine", _refuse)
    found = hold_against_calibration(bundle, served)
    assert found is not None
    assert found.images == 0


def _refuse(*asked: object, **more: object) -> Engine:
    raise AssertionError("another engine is opened")


class _Claims(Engine):
    """An engine that says it computes as the calibration did."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.arithmetic = computed("openvino", "bfloat16")


def test_float32_on_both_sides_is_rounding_alone(tmp_path: Path) -> None:
    bundle = with_images(calibrated(tmp_path / "tiny", computed("openvino", "float32")), tiny_images(10))
    found = hold_against_calibration(bundle, Engine(bundle))
    assert found is not None
    assert found.only_rounding
    assert found.largest < 1e-5
    assert "calibrate it there" not in str(found)
