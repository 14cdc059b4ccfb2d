"""Which shortcuts a bundle gets: those that agree with its segments, and pay."""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, cycle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from serving.bundle import Bundle
from serving.engine import fast_paths
from serving.engine.engine import Engine
from serving.engine.fast_paths import shorten
from serving.engine.graph_variants import headless, whole
from serving.interfaces import NO_FAST_PATHS
from tests.bundles import tiny_bundle, tiny_images, tiny_manifest, tiny_segments

SPECS = tiny_manifest().segments


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle)


def clock(first_seconds: float, second_seconds: float) -> Callable[[], float]:
    """A clock by which two runs in turn take so long."""
    times = accumulate(cycle([0.0, first_seconds, 0.0, second_seconds]))
    return lambda: next(times)


def step_by_step(engine: Engine, images: np.ndarray) -> np.ndarray:
    inputs: tuple[np.ndarray, ...] = (images,)
    for stage in range(engine.stages):
        probabilities, inputs = engine.run(stage, inputs)
    return probabilities


def test_all_that_agrees_and_pays_is_kept(bundle: Bundle, engine: Engine) -> None:
    shortcuts = shorten(bundle, engine, clock(1, 2))
    assert sorted(shortcuts.headless) == [0, 1]
    assert shortcuts.whole is not None
    assert shortcuts.whole_is_exact
    images = tiny_images(7, seed=3)
    np.testing.assert_array_equal(shortcuts.whole((images,)), step_by_step(engine, images))
    (pixels, state), (_, expected) = shortcuts.headless[0]((images,)), engine.run(0, (images,))
    np.testing.assert_array_equal(pixels, expected[0])
    np.testing.assert_array_equal(state, expected[1])


def test_a_head_that_costs_nothing_is_not_worth_a_second_copy_of_the_weights(
    bundle: Bundle, engine: Engine
) -> None:
    segments = [
        spec.model_copy(update={"body_flops": 10_000, "head_flops": flops})
        for spec, flops in zip(bundle.manifest.segments, (99, 200, 50), strict=True)
    ]
    manifest = bundle.manifest.model_copy(update={"segments": tuple(segments)})
    assert sorted(shorten(replace(bundle, manifest=manifest), engine, clock(1, 2)).headless) == [1]


@pytest.mark.parametrize("seconds", [2, 1.95])
def test_a_whole_net_that_is_hardly_quicker_is_let_go(bundle: Bundle, engine: Engine, seconds: float) -> None:
    shortcuts = shorten(bundle, engine, clock(seconds, 2))
    assert sorted(shortcuts.headless) == [0, 1]
    assert shortcuts.whole is None


def test_features_that_differ_in_a_bit_are_not_used(
    bundle: Bundle, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = headless(nudged(bundle.segment_bytes(1), 1e-6), SPECS[1])
    monkeypatch.setattr(
        fast_paths, "headless", lambda file, spec: other if spec is bundle.manifest.segments[1] else file
    )
    assert sorted(shorten(bundle, engine, clock(1, 2)).headless) == [0]


@pytest.mark.parametrize(("by", "kept"), [(1e-4, True), (1.0, False)])
def test_a_whole_net_that_differs_is_used_if_by_little_and_is_not_called_exact(
    by: float, kept: bool, bundle: Bundle, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    differing = nudged(whole(tiny_segments(), SPECS), by)
    monkeypatch.setattr(fast_paths, "whole", lambda files, specs: differing)
    shortcuts = shorten(bundle, engine, clock(1, 2))
    assert (shortcuts.whole is not None) == kept
    assert shortcuts.whole_is_exact == (not kept)


def test_a_graph_that_does_not_load_is_done_without(
    bundle: Bundle, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_paths, "whole", lambda files, specs: b"no graph")
    monkeypatch.setattr(fast_paths, "headless", lambda file, spec: b"no graph")
    shortcuts = shorten(bundle, engine, clock(1, 2))
    assert (dict(shortcuts.headless), shortcuts.whole) == ({}, None)


def test_features_on_a_device_are_left_there(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", rows=True)
    engine = Engine(bundle, providers=["CPUExecutionProvider"], device_features="on")
    assert shorten(bundle, engine) is NO_FAST_PATHS


def nudged(file: bytes, by: float) -> bytes:
    """The same graph with its weights changed a little."""
    model = onnx.load_from_string(file)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(values + np.float32(by) * np.sign(values), tensor.name))
    return bytes(model.SerializeToString())
