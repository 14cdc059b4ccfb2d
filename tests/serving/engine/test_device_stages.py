"""Features on a device, here the CPU: whatever the traffic, the answers are those of the plain engine."""

import tempfile
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from onnx import helper

from serving.bundle import Bundle, write_bundle
from serving.engine.device_stages import DeviceStages, padded, padded_sizes
from serving.engine.engine import Engine
from serving.engine.providers import CPU, CUDA, nvidia_gpus
from serving.errors import BodyTooLargeError, EngineError, OverloadedError
from serving.model import Model, ServingConfig
from serving.scheduler.dispatch import deepest_full
from serving.scheduler.request import Constraints, Request, Row
from serving.scheduler.scheduler import Scheduler
from serving.scheduler.turns import SHORT_ROWS
from tests.bundles import EXIT_FLOPS, tiny_bundle, tiny_calibration, tiny_images, tiny_manifest, tiny_segments

STAGES = len(EXIT_FLOPS)
TERMS = Constraints(budget_flops=3000.0, thresholds=())
IMAGES = tiny_images(64)

Answers = tuple[tuple[int, ...], np.ndarray]


def half_bundle(folder: Path) -> Bundle:
    """The tiny bundle with features in float16 between its segments."""
    manifest = tiny_manifest(rows=True)
    segments = [_halved(onnx.load_from_string(data)) for data in tiny_segments(rows=True)]
    specs = tuple(
        spec.model_copy(update={"inputs": _half(spec.inputs), "outputs": _half(spec.outputs)})
        for spec in manifest.segments
    )
    draft = manifest.model_copy(update={"segments": specs})
    return write_bundle(folder, draft, segments, tiny_calibration())


def _half(tensors: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        spec.model_copy(update={"dtype": "float16"}) if spec.name.startswith(("pixels", "state")) else spec
        for spec in tensors
    )


def _halved(model: onnx.ModelProto) -> bytes:
    graph = model.graph
    before, after = [], []
    for value in [*graph.input, *graph.output]:
        if not value.name.startswith(("pixels", "state")):
            continue
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        full = value.name + "_full"
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [full if name == value.name else name for name in names]
        if value in list(graph.input):
            before.append(helper.make_node("Cast", [value.name], [full], to=onnx.TensorProto.FLOAT))
        else:
            after.append(helper.make_node("Cast", [full], [value.name], to=onnx.TensorProto.FLOAT16))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


@cache
def engine(half: bool = False) -> Engine:
    folder = Path(tempfile.mkdtemp())
    bundle = half_bundle(folder / "half") if half else tiny_bundle(folder / "tiny", rows=True)
    return Engine(bundle, providers=[CPU], device_features="on")


@cache
def expected(half: bool) -> list[np.ndarray]:
    """What the plain engine says of each of the images at each exit, [64, C] each."""
    inputs: tuple[np.ndarray, ...] = (IMAGES,)
    answers = []
    for stage in range(STAGES):
        probabilities, inputs = engine(half).run(stage, inputs)
        answers.append(probabilities)
    return answers


def stages_of(engine: Engine, scheduler_waiting: Any, max_batch: int) -> DeviceStages:
    run = engine.make_run(scheduler_waiting, max_batch=max_batch)
    stages = getattr(run, "__self__", None)
    assert isinstance(stages, DeviceStages)
    return stages


class InjectedError(Exception):
    """The only thing that may fail."""


class Traffic(RuleBasedStateMachine):
    """Requests of any size come, with and without barriers, are cancelled, and meet failing batches."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Request[Answers], list[int], list[int]]] = []
        self.decider_fails = self.device_fails = False

    @initialize(
        half=st.booleans(),
        capacity=st.integers(20, 300),
        max_batch=st.integers(1, 20),
        max_age_seconds=st.sampled_from([0.0, 1e9]),
    )
    def open(self, half: bool, capacity: int, max_batch: int, max_age_seconds: float) -> None:
        self.half, self.capacity = half, capacity
        self.block_rows = padded(max_batch)
        self.scheduler: Scheduler[Answers] = Scheduler(
            name="fake",
            exit_flops=EXIT_FLOPS,
            run=self.run,
            decide=self.decide,
            answer=lambda requests: [(said.exits, said.probabilities.copy()) for said in requests],
            capacity=capacity,
            dispatch=partial(deepest_full, max_batch=max_batch, max_age_seconds=max_age_seconds),
        )
        with patch("serving.engine.device_stages._SMALLEST_BLOCK", 1):  # room is short, and rows move often
            self.stages = stages_of(engine(half), self.scheduler.waiting_features, max_batch)

    def run(self, stage: int, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        answer = self.stages.run(stage, inputs)
        if self.device_fails:
            self.device_fails = False
            raise InjectedError("the device failed")
        return answer

    def decide(self, stage: int, rows: Sequence[Row], probabilities: np.ndarray) -> np.ndarray:
        if self.decider_fails:
            self.decider_fails = False
            raise InjectedError("the decider failed")
        exits = {request: leaves for request, _, leaves in self.sent}
        return np.array([exits[row.request][row.position] <= stage for row in rows])

    @rule(
        rows=st.lists(
            st.tuples(st.integers(0, len(IMAGES) - 1), st.integers(0, STAGES - 1)), min_size=1, max_size=40
        ),
        barrier=st.booleans(),
    )
    def submit(self, rows: list[tuple[int, int]], barrier: bool) -> None:
        images, exits = [image for image, _ in rows], [leaves for _, leaves in rows]
        try:
            request = self.scheduler.submit((IMAGES[images],), TERMS, barrier=barrier)
        except (OverloadedError, BodyTooLargeError):  # full: backpressure is for the caller to feel
            kept_free = min(max(0, len(rows) - SHORT_ROWS), self.capacity // 4)  # from long lists
            assert self.scheduler.waiting_rows + len(rows) + kept_free > self.capacity
            return
        self.sent.append((request, images, exits))

    @rule(steps=st.integers(1, 6))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.scheduler.step()

    @rule(images=st.lists(st.integers(0, len(IMAGES) - 1), min_size=1, max_size=12))
    def trickle(self, images: list[int]) -> None:
        """One row after the other, each left in a block of its own until rows are moved together."""
        for image in images:
            self.submit([(image, STAGES - 1)], barrier=False)
            self.scheduler.step()

    @rule(which=st.integers(0, 10**6))
    def cancel(self, which: int) -> None:
        if self.sent:
            self.sent[which % len(self.sent)][0].cancel()

    @rule(in_decider=st.booleans())
    def fail(self, in_decider: bool) -> None:
        self.decider_fails, self.device_fails = in_decider, not in_decider
        self.scheduler.step()
        self.decider_fails = self.device_fails = False

    @invariant()
    def memory_is_bounded_and_no_place_is_used_twice(self) -> None:
        if not hasattr(self, "stages"):
            return
        for stage, slab in enumerate(self.stages.slabs, start=1):
            assert slab.rows <= max(4 * self.block_rows, 4 * self.capacity + 2 * self.block_rows)
            waiting = [places for (places,) in self.scheduler.waiting_features(stage)]
            used = np.concatenate([*waiting, np.empty(0, np.int64)])
            assert len(np.unique(used)) == len(used)
            assert not used.size or used.max() < slab.rows

    def teardown(self) -> None:
        if not hasattr(self, "stages"):
            return
        while self.scheduler.step():
            pass
        assert self.scheduler.waiting_rows == 0
        for request, images, exits in self.sent:
            assert request.future.done()
            if request.future.cancelled():
                continue
            if (error := request.future.exception(0)) is not None:
                assert isinstance(error, EngineError)
                assert isinstance(error.__cause__, InjectedError), error
                continue
            taken, probabilities = request.future.result(0)
            assert list(taken) == exits
            for image, exit_index, found in zip(images, exits, probabilities, strict=True):
                np.testing.assert_array_equal(found, expected(self.half)[exit_index][image])


Traffic.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestTraffic = Traffic.TestCase


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_every_exit_says_the_same_as_the_plain_engine(half: bool, count: int) -> None:
    stages = stages_of(engine(half), lambda stage: (), 20)
    inputs: tuple[np.ndarray, ...] = (IMAGES[:count],)
    for stage in range(STAGES):
        probabilities, inputs = stages.run(stage, inputs)
        np.testing.assert_array_equal(probabilities, expected(half)[stage][:count])
    assert inputs == ()


def test_answers_are_kept_when_the_next_batch_comes() -> None:
    stages = stages_of(engine(), lambda stage: (), 4)
    first, _ = stages.run(0, (IMAGES[:4],))
    kept = first.copy()
    stages.run(0, (IMAGES[4:8],))
    np.testing.assert_array_equal(first, kept)


def test_few_sizes_reach_the_device() -> None:
    shapes = set()
    stages = stages_of(engine(), lambda stage: (), 20)
    for count in range(1, 21):
        stages.run(0, (IMAGES[:count],))
        shapes |= {bound.host.shape[0] for bound in stages._bound.values()}
    assert shapes == set(padded_sizes(20)) == {1, 2, 4, 8, 16, 32}


def test_more_rows_than_a_batch_holds_are_refused() -> None:
    with pytest.raises(EngineError, match="at most 4 rows, found 5"):
        stages_of(engine(), lambda stage: (), 4).run(0, (IMAGES[:5],))


def test_what_is_not_a_number_stays_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = stages_of(engine(), lambda stage: (), 4)
    _, places = stages.run(0, (IMAGES[:2],))
    whole = [tensor.numpy().copy() for tensor in stages.slabs[0].tensors]
    broken = whole[0].copy()
    broken[places[0][1]] = np.nan
    stages.slabs[0].tensors[0].update_inplace(broken)
    probabilities, _ = stages.run(1, places)
    assert np.isnan(probabilities[1]).all()
    probabilities, _ = stages.run(1, (places[0][:1],))
    np.testing.assert_array_equal(probabilities, expected(False)[1][:1])


@pytest.mark.skipif(not nvidia_gpus(), reason="no NVIDIA GPU here")
def test_a_gpu_says_what_the_cpu_says(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", rows=True)
    rules = ServingConfig(controller=False, sample_share=0.0)
    answers = []
    for provider in (CPU, CUDA):
        with Model.load(bundle, providers=[provider], strict=True, rules=rules) as model:
            assert model.features_on == ("device" if provider == CUDA else "host")
            answers.append([model.classify(IMAGES, budget) for budget in ("1000", "50%", "100%")])
    for on_cpu, on_gpu in zip(*answers, strict=True):
        assert [answer.class_index for answer in on_gpu] == [answer.class_index for answer in on_cpu]
        np.testing.assert_allclose(
            [answer.confidence for answer in on_gpu], [answer.confidence for answer in on_cpu], atol=1e-3
        )
