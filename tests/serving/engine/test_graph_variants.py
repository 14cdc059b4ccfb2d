"""Graphs put together from segments say what the segments say, to the last bit."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from serving.bundle import Bundle
from serving.bundle.manifest import ROWS
from serving.engine.engine import Engine
from serving.engine.graph_variants import VariantError, headless, whole
from tests.bundles import tiny_bundle, tiny_images, tiny_manifest, tiny_segments

SPECS = tiny_manifest().segments


@pytest.fixture(params=[False, True], ids=["plain", "rows"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "tiny", rows=request.param)


def test_the_whole_net_says_what_its_segments_say(bundle: Bundle) -> None:
    """The tiny bundle's segments all use the same inner names, for different weights."""
    engine, images = Engine(bundle, device_features="off"), tiny_images(5)
    files = [bundle.segment_bytes(index) for index in range(engine.stages)]
    session = engine.open(whole(files, bundle.manifest.segments))
    features: tuple[np.ndarray, ...] = (images,)
    for stage in range(engine.stages):
        probabilities, features = engine.run(stage, features)
    feed: dict[str, np.ndarray] = {"images": images}
    if bundle.manifest.segments[1].gathers_rows:
        feed[ROWS] = np.arange(5)
    (found,) = session.run([session.outputs[0].name], feed)
    np.testing.assert_array_equal(found, probabilities)


def test_a_segment_without_its_head_puts_out_the_same_features(bundle: Bundle) -> None:
    engine, spec = Engine(bundle, device_features="off"), bundle.manifest.segments[1]
    _, features = engine.run(0, (tiny_images(5),))
    session = engine.open(headless(bundle.segment_bytes(1), spec))
    feed = dict(zip((tensor.name for tensor in spec.feature_inputs), features, strict=True))
    if spec.gathers_rows:
        feed[ROWS] = np.arange(5)
    names = [output.name for output in session.outputs]
    assert names == [tensor.name for tensor in spec.outputs[1:]]
    for found, expected in zip(session.run(names, feed), engine.run(1, features)[1], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_heads_that_nobody_asks_are_gone() -> None:
    operators = [node.op_type for node in onnx.load_from_string(whole(tiny_segments(), SPECS)).graph.node]
    assert operators.count("Softmax") == 1
    assert operators.count("Tanh") == 3


def changed(change: str) -> bytes:
    model = onnx.load_from_string(tiny_segments()[1])
    if change == "opset":
        model.opset_import[0].version = 19
    elif change == "function":
        node = helper.make_node("Identity", ["a"], ["b"])
        opset = [helper.make_opsetid("", 20)]
        model.functions.append(helper.make_function("own", "twice", ["a"], ["b"], [node], opset))
    else:
        inner = helper.make_graph([helper.make_node("Identity", ["sum"], ["out"])], "inner", [], [])
        model.graph.node.append(
            helper.make_node("If", ["yes"], ["unused"], then_branch=inner, else_branch=inner)
        )
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("change", "message"),
    [("opset", "versions of operators"), ("function", "functions"), ("branch", "If of a segment")],
)
def test_what_cannot_be_followed_is_refused(change: str, message: str) -> None:
    first, _, last = tiny_segments()
    with pytest.raises(VariantError, match=message):
        whole([first, changed(change), last], SPECS)
