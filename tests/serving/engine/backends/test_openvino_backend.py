"""OpenVINO under the engine, held against ONNX Runtime on the tiny bundle."""

import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.engine.backends.names import InferencePrecision
from serving.engine.engine import Engine
from serving.engine.fast_paths import shorten
from serving.engine.providers import OPENVINO
from serving.errors import EngineError
from tests.bundles import tiny_bundle, tiny_images, tiny_segments
from tests.serving.engine.test_engine import through

pytest.importorskip("openvino")

from serving.engine.backends.openvino_backend import OpenVinoBackend, computes_bfloat16


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def engine(bundle: Bundle, threads: int = 1, precision: InferencePrecision = "float32") -> Engine:
    return Engine(bundle, threads=threads, backend=OpenVinoBackend(precision))


def test_the_answers_are_onnx_runtime_s_up_to_rounding(bundle: Bundle) -> None:
    images = tiny_images(5)
    opened = engine(bundle)
    for found, expected in zip(through(opened, images), through(Engine(bundle), images), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert opened.providers == (OPENVINO,)
    assert (opened.arithmetic.runtime, opened.arithmetic.precision) == ("openvino", "float32")


def test_a_row_s_probabilities_are_the_same_bits_beside_other_rows_and_on_more_threads(
    bundle: Bundle,
) -> None:
    images = tiny_images(32)
    alone, threaded = engine(bundle), engine(bundle, threads=3)
    together = through(alone, images)
    for part in (through(alone, images[3:4]), [found[3:4] for found in through(threaded, images)]):
        for one, many in zip(part, together, strict=True):
            np.testing.assert_array_equal(one, many[3:4])


def test_outputs_are_new_arrays(bundle: Bundle) -> None:
    opened = engine(bundle)
    first, features = opened.run(0, (tiny_images(2),))
    before = [first.copy(), *(feature.copy() for feature in features)]
    opened.run(0, (tiny_images(2, seed=1),))
    for kept, now in zip(before, (first, *features), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_images_that_may_not_be_written_to_are_read(bundle: Bundle) -> None:
    images = tiny_images(4)[::-1]
    images.setflags(write=False)
    opened = engine(bundle)
    np.testing.assert_array_equal(opened.run(0, (images,))[0], opened.run(0, (images.copy(),))[0])


def test_a_rows_input_is_fed_so_that_every_row_survives(bundle: Bundle, tmp_path: Path) -> None:
    gathering = engine(tiny_bundle(tmp_path / "gathering", rows=True))
    for plain, gathered in zip(
        through(engine(bundle), tiny_images(4)), through(gathering, tiny_images(4)), strict=True
    ):
        np.testing.assert_array_equal(plain, gathered)


def test_heads_are_skipped_by_the_same_rule(bundle: Bundle) -> None:
    opened = engine(bundle)
    images = tiny_images(4)
    for stage, run in shorten(bundle, opened).headless.items():
        inputs: tuple[np.ndarray, ...] = (images,)
        for before in range(stage):
            inputs = opened.run(before, inputs)[1]
        for found, expected in zip(run(inputs), opened.run(stage, inputs)[1], strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_graph_that_it_cannot_load_is_refused_by_name() -> None:
    with pytest.raises(EngineError, match=r"OpenVINO 20.* cannot load it"):
        OpenVinoBackend().open(tiny_segments()[0][:200], 1)


def test_no_run_begins_once_the_time_for_the_first_ones_is_over() -> None:
    backend = OpenVinoBackend()
    session = backend.open(tiny_segments()[0], 1)
    feed = {"images": tiny_images(1)}
    with backend.limited(0) as limit:
        while not limit.over:
            threading.Event().wait(0.001)
        with pytest.raises(EngineError, match="the time for the first runs is over"):
            session.run(["probabilities_1"], feed)
    assert session.run(["probabilities_1"], feed)[0].shape == (1, 4)


@pytest.mark.skipif(not computes_bfloat16(), reason="this processor has no bfloat16")
def test_bfloat16_is_near_and_keeps_confidences_apart(bundle: Bundle) -> None:
    images = tiny_images(64)
    opened = engine(bundle, precision="bfloat16")
    assert opened.arithmetic.precision == "bfloat16"
    for found, expected in zip(through(opened, images), through(Engine(bundle), images), strict=True):
        np.testing.assert_allclose(found, expected, atol=0.1)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
        confidences = np.sort(found.max(axis=1))
        assert sum(one == other for one, other in pairwise(confidences)) <= 2


SIGNALLED = """
import signal, sys, threading
from pathlib import Path
from serving.engine.backends.openvino_backend import OpenVinoBackend

signal.signal(signal.SIGTERM, lambda *_: print("handled"))
segment = Path(sys.argv[1]).read_bytes()
opened = [OpenVinoBackend().open(segment, threads=1) for _ in range(2)]
if sys.argv[2] == "the older first":
    del opened[0]
    del opened[0]
else:
    thread = threading.Thread(target=opened.clear)
    thread.start()
    thread.join()
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize("closed", ["the older first", "in another thread"])
def test_a_signal_is_handled_after_sessions_were_closed(closed: str, bundle: Bundle) -> None:
    command = [sys.executable, "-c", SIGNALLED, str(bundle.folder / "segment_1.onnx"), closed]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr
