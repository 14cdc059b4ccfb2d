"""Loading refuses what the check refuses, with the same words, and serves what it passes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import Bundle, read_bundle, write_bundle
from serving.bundle.graph_checks import parse_model
from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from serving.engine.fast_paths import shorten
from serving.errors import BundleError, EngineError
from serving.model import Model
from tests.bundles import tiny_calibration, tiny_images, tiny_manifest, tiny_segments

Change = Callable[[onnx.ModelProto, int], None]


def changed(folder: Path, change: Change, only: int | None = None, rows: bool = False) -> Bundle:
    """Write the tiny bundle with its graphs changed, one of them or all."""
    segments = []
    for index, data in enumerate(tiny_segments(rows)):
        model = onnx.ModelProto()
        model.ParseFromString(data)
        if only in (None, index):
            change(model, index)
        segments.append(model.SerializeToString())
    return write_bundle(folder, tiny_manifest(rows), segments, tiny_calibration())


def head(model: onnx.ModelProto) -> onnx.NodeProto:
    found: onnx.NodeProto = next(node for node in model.graph.node if node.op_type == "Softmax")
    return found


def to_logits(model: onnx.ModelProto, index: int) -> None:
    node = head(model)
    node.op_type = "Identity"
    del node.attribute[:]


def to_sigmoids(model: onnx.ModelProto, index: int) -> None:
    to_logits(model, index)
    next(node for node in model.graph.node if "logits" in node.input).op_type = "Sigmoid"


def to_log_softmax(model: onnx.ModelProto, index: int) -> None:
    head(model).op_type = "LogSoftmax"


def to_percent(model: onnx.ModelProto, index: int) -> None:
    node = head(model)
    name = node.output[0]
    node.output[0] = "shares"
    model.graph.initializer.append(numpy_helper.from_array(np.array(100, np.float32), "hundred"))
    model.graph.node.append(helper.make_node("Mul", ["shares", "hundred"], [name]))


def overflow(model: onnx.ModelProto, index: int) -> None:
    node = head(model)
    name = node.output[0]
    node.output[0] = "shares"
    model.graph.node.append(helper.make_node("Sub", ["shares", "shares"], ["zero"]))
    model.graph.node.append(helper.make_node("Div", ["zero", "zero"], [name]))


def refused(bundle: Bundle) -> tuple[str, str]:
    """What the check and the loading say of a bundle that neither passes."""
    verdicts = [verdict.detail for verdict in check_bundle(bundle.folder) if not verdict.ok]
    with pytest.raises(BundleError) as caught:
        Model.load(bundle.folder, threads=1)
    return verdicts[0], str(caught.value)


@pytest.mark.parametrize("only", [0, 1, 2])
@pytest.mark.parametrize("change", [to_logits, to_sigmoids, to_log_softmax, to_percent, overflow])
def test_what_is_no_probability_is_refused_by_both(tmp_path: Path, change: Change, only: int) -> None:
    checked, loaded = refused(changed(tmp_path / "tiny", change, only))
    assert checked == loaded
    assert f"bundle 'tiny': segment_{only + 1}.onnx" in loaded
    assert "are no probabilities" in loaded or "not numbers" in loaded


def test_rows_that_depend_on_each_other_are_refused_by_both(tmp_path: Path) -> None:
    def mix(model: onnx.ModelProto, index: int) -> None:
        node = next(node for node in model.graph.node if node.output[0] == "logits")
        place, state = list(model.graph.node).index(node), node.input[0]
        node.input[0] = "mixed"
        model.graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [1], [0]))
        model.graph.node.insert(place, helper.make_node("ReduceMean", [state, "axes"], ["mean"], keepdims=1))
        model.graph.node.insert(place + 1, helper.make_node("Sub", [state, "mean"], ["mixed"]))

    checked, loaded = refused(changed(tmp_path / "tiny", mix, 0))
    assert checked == loaded
    assert "depend on the batch" in loaded


@pytest.mark.parametrize("what", ["halves", "classes", "accuracy"])
def test_what_a_bundle_says_of_itself_is_held_against_the_same_list(tmp_path: Path, what: str) -> None:
    manifest, calibration = tiny_manifest(), tiny_calibration()
    if what == "halves":
        calibration = replace(calibration, certify=np.zeros(400, np.bool_))
    elif what == "classes":
        shift = calibration.labels.astype(np.int32)[:, None]
        prediction = (calibration.prediction - shift) % 4
        calibration = replace(calibration, labels=calibration.labels * 0, prediction=prediction)
    else:
        segments = tuple(spec.model_copy(update={"validation_accuracy": 0.99}) for spec in manifest.segments)
        manifest = manifest.model_copy(update={"segments": segments})
    bundle = write_bundle(tmp_path / "tiny", manifest, tiny_segments(), calibration)
    checked, loaded = refused(bundle)
    assert loaded == f"bundle 'tiny': {what}: {checked}"


def listed_weights(model: onnx.ModelProto, ir_version: int) -> None:
    """List weights among the inputs, as exporters did before IR version 4 let them leave it."""
    model.ir_version = ir_version
    present = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.name not in present:
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("ir_version", [3, 10])
def test_weights_that_are_listed_among_the_inputs_are_weights(
    tmp_path: Path, ir_version: int, threads: int, rows: bool
) -> None:
    bundle = changed(tmp_path / "tiny", lambda model, _: listed_weights(model, ir_version), rows=rows)
    assert [verdict.detail for verdict in check_bundle(bundle.folder) if not verdict.ok] == []
    engine = Engine(read_bundle(bundle.folder), threads=threads, device_features="off")
    assert sorted(shorten(bundle, engine).headless) == [0, 1]
    images = tiny_images(9)
    with Model.load(bundle.folder, threads=threads) as model:
        found = model.classify(images, "100%")
    plain = changed(tmp_path / "plain", lambda model, _: None, rows=rows)
    with Model.load(plain.folder, threads=threads) as model:
        expected = model.classify(images, "100%")
    assert [answer.confidence for answer in found] == [answer.confidence for answer in expected]


def test_parsing_leaves_inputs_alone(tmp_path: Path) -> None:
    model = parse_model(tiny_segments()[1])
    assert [value.name for value in model.graph.input] == ["pixels_1", "state_1"]


def test_a_tool_that_fails_on_a_graph_costs_the_shorter_graph_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise ValueError("no such graph")

    monkeypatch.setattr("serving.engine.fast_paths.whole", fail)
    monkeypatch.setattr("serving.engine.fast_paths.headless", fail)
    bundle = changed(tmp_path / "tiny", lambda model, _: None)
    with Model.load(bundle.folder, threads=1) as model:
        assert len(model.classify(tiny_images(3))) == 3


def overflows_on_black_and_white(model: onnx.ModelProto, index: int) -> None:
    """Divide by what is 0 where the first pixel's red is 255 and its blue 0; all else stays as it is."""
    graph = model.graph
    node = next(node for node in graph.node if node.op_type == "Div" and node.input[0] == "float")
    node.output[0] = "unspoilt"
    weights = {
        "one_hot": np.array([[[[1.0, 0, -1.0]]]], np.float32),
        "limit": np.float32(255),
        "nought": np.float32(0),
        "starts": np.array([0, 0, 0], np.int64),
        "ends": np.array([1, 1, 3], np.int64),
        "axes_123": np.array([1, 2, 3], np.int64),
    }
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()
    )
    place = list(graph.node).index(node) + 1
    added = [
        helper.make_node("Slice", ["float", "starts", "ends", "axes_123"], ["corner"]),
        helper.make_node("Mul", ["corner", "one_hot"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "axes_123"], ["contrast"], keepdims=1),
        helper.make_node("Sub", ["limit", "contrast"], ["gap"]),
        helper.make_node("Div", ["gap", "gap"], ["one_or_nan"]),
        helper.make_node("Mul", ["unspoilt", "one_or_nan"], ["scaled"]),
    ]
    for number, new in enumerate(added):
        graph.node.insert(place + number, new)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("budget", ["50%", "100%"])
def test_an_image_that_the_net_overflows_on_fails_alone(tmp_path: Path, threads: int, budget: str) -> None:
    bundle = changed(tmp_path / "tiny", overflows_on_black_and_white, 0)
    images = tiny_images(12)
    images[:, 0, 0] = 7
    with Model.load(bundle.folder, threads=threads) as model:
        expected = model.classify(images, budget)
        spoilt = images.copy()
        spoilt[5, 0, 0] = (255, 7, 0)
        requests = [model.submit(image, budget) for image in spoilt]
        found = [request.future.exception(30) or request.future.result(0)[0] for request in requests]
    assert isinstance(found[5], EngineError)
    assert "not numbers" in str(found[5])
    for index, answer in enumerate(found):
        assert index == 5 or answer == expected[index]
