"""The engine on the tiny bundle."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from serving.bundle import Bundle, write_bundle
from serving.engine.device import features_on
from serving.engine.engine import Engine
from serving.engine.providers import CPU, CUDA, TENSORRT, DeviceFeatures, listed, nvidia_gpus
from serving.errors import BundleError, EngineError
from tests.bundles import CLASSES, tiny_bundle, tiny_calibration, tiny_images, tiny_manifest, tiny_segments


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def through(engine: Engine, images: np.ndarray) -> list[np.ndarray]:
    inputs: tuple[np.ndarray, ...] = (images,)
    answers = []
    for stage in range(engine.stages):
        probabilities, inputs = engine.run(stage, inputs)
        answers.append(probabilities)
    return answers


def test_every_segment_puts_out_probabilities_and_the_last_one_nothing_else(bundle: Bundle) -> None:
    engine = Engine(bundle)
    answers = through(engine, tiny_images(5))
    assert engine.stages == len(answers) == 3
    for probabilities in answers:
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (5, len(CLASSES))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert not np.array_equal(answers[0], answers[1])


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_a_row_s_probabilities_are_the_same_bits_beside_other_rows(bundle: Bundle, threads: int) -> None:
    engine, images = Engine(bundle, threads=threads), tiny_images(32)
    together = through(engine, images)
    alone = through(engine, images[3:4])
    without_threads = through(Engine(bundle), images)
    for many, one, expected in zip(together, alone, without_threads, strict=True):
        np.testing.assert_array_equal(many[3:4], one)
        np.testing.assert_array_equal(many, expected)


def test_a_rows_input_is_fed_so_that_every_row_survives(bundle: Bundle, tmp_path: Path) -> None:
    gathering = Engine(tiny_bundle(tmp_path / "gathering", rows=True))
    for plain, gathered in zip(
        through(Engine(bundle), tiny_images(4)), through(gathering, tiny_images(4)), strict=True
    ):
        np.testing.assert_array_equal(plain, gathered)


def test_the_provider_that_was_got_is_said_and_a_missing_one_is_survived(bundle: Bundle) -> None:
    assert Engine(bundle, providers=[CPU]).providers == (CPU,)
    engine = Engine(bundle, providers=["NoSuchExecutionProvider"])
    assert (engine.providers, engine.missing) == ((CPU,), ("NoSuchExecutionProvider",))


def test_nothing_asked_for_is_the_best_that_works_and_no_stream_hears_of_what_is_not_there(
    bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = Engine(bundle)
    assert engine.providers == ((CUDA, CPU) if nvidia_gpus() and not engine.missing else (CPU,))
    if not nvidia_gpus():
        assert Engine(bundle, providers=[TENSORRT, CUDA]).missing == (TENSORRT, CUDA)
        assert capfd.readouterr() == ("", "")


def test_a_provider_that_is_there_and_fails_is_left_out_and_the_next_is_tried(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As if there were a GPU: TensorRT raises where libraries are missing, CUDA complains and is not got."""
    real, tried = onnxruntime.InferenceSession, []

    def open_session(
        model: bytes, options: Any, providers: list[tuple[str, dict[str, str]]], **more: Any
    ) -> Any:
        tried.append([name for name, _ in providers])
        if tried[-1][0] == TENSORRT:
            raise RuntimeError("install TensorRT")
        return real(model, options, providers=[CPU], **more)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    monkeypatch.setattr("serving.engine.backends.onnx_backend.listed", partial(listed, gpus=lambda: 1))
    engine = Engine(bundle, providers=[TENSORRT, CUDA])
    assert (engine.providers, engine.missing) == ((CPU,), (TENSORRT, CUDA))
    assert tried == [[TENSORRT, CUDA, CPU], [CUDA, CPU]] * engine.stages
    assert capfd.readouterr().out == ""
    with pytest.raises(EngineError, match=f"wanted {TENSORRT}, {CUDA}, but"):
        Engine(bundle, providers=[TENSORRT, CUDA], strict=True)


def test_strict_refuses_what_was_not_got(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"wanted NoSuchExecutionProvider.* runs it on .*CPUExecution"):
        Engine(bundle, providers=["NoSuchExecutionProvider"], strict=True)


def test_strict_says_yes_or_no_to_cuda_by_what_the_session_got(bundle: Bundle) -> None:
    got_cuda = CUDA in Engine(bundle, providers=[CUDA]).providers
    if got_cuda:
        assert Engine(bundle, providers=[CUDA], strict=True).providers[0] == CUDA
    else:
        with pytest.raises(EngineError, match=CUDA):
            Engine(bundle, providers=[CUDA], strict=True)


@pytest.mark.parametrize(("asked", "expected"), [("auto", "host"), ("on", "device"), ("off", "host")])
def test_features_stay_on_the_host_of_a_cpu_unless_asked_for(
    asked: DeviceFeatures, expected: str, tmp_path: Path
) -> None:
    engine = Engine(tiny_bundle(tmp_path / "gathering", rows=True), providers=[CPU], device_features=asked)
    assert engine.features_on == expected
    run = engine.make_run(lambda stage: (), max_batch=4)
    _, features = run(0, (tiny_images(2),))
    assert [tensor.dtype.name for tensor in features] == (
        ["int64"] if expected == "device" else ["float32"] * 2
    )


def test_segments_that_gather_no_rows_cannot_leave_features_on_the_device(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"segment 2 takes no input 'rows' .*--gather-rows"):
        Engine(bundle, device_features="on")


def test_features_stay_on_a_gpu_where_the_bundle_is_made_for_it() -> None:
    gathering, plain = (tiny_manifest(rows).segments for rows in (True, False))
    assert features_on("m", gathering, (CUDA, CPU), "auto") == "device"
    assert features_on("m", gathering, (CPU,), "auto") == "host"
    assert features_on("m", gathering, (CUDA, CPU), "off") == "host"
    assert features_on("m", plain, (CUDA, CPU), "auto") == "host"


def test_telemetry_is_off() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_file_changed_since_it_was_read_is_not_loaded(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    bundle.segment_path(1).write_bytes(tiny_segments(seed=5)[1])
    with pytest.raises(BundleError, match=r"segment_2\.onnx.*SHA-256"):
        Engine(bundle)


def test_nan_probabilities_are_an_error_at_load_that_names_the_segment(tmp_path: Path) -> None:
    poisoned = [
        data.replace(np.float32(127.5).tobytes(), np.float32("nan").tobytes()) for data in tiny_segments()
    ]
    bundle = write_bundle(tmp_path / "nan", tiny_manifest(), poisoned, tiny_calibration())
    with pytest.raises(BundleError, match=r"'nan': segment_1\.onnx .*not numbers"):
        Engine(bundle)
