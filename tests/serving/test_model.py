"""The model in process: answers against a reference that knows no batches, budgets, bad input, closing."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.bundle import Bundle
from serving.engine.engine import Engine
from serving.engine.providers import CPU
from serving.errors import (
    BodyTooLargeError,
    BudgetError,
    BundleError,
    ClosedError,
    ImageError,
    OverloadedError,
)
from serving.events import Event, RequestDone, RequestFailed, StageRan
from serving.interfaces import FloatArray, Tensors
from serving.model import Answer, Model, RuntimeOptions, ServingConfig
from serving.options import ClassifyOptions
from serving.policy.budget import format_flops
from serving.policy.confidence import score
from serving.policy.plan import Plan, exits_taken
from serving.scheduler.cores import Cores
from serving.scheduler.cost import CostModel
from tests.bundles import CLASSES, EXIT_FLOPS, tiny_bundle, tiny_images

OPEN_LOOP = ServingConfig(controller=False)
BUDGETS = ("1000", "40%", "3.5kFLOPs", "100%")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def model(bundle: Bundle, events: list[Event]) -> Iterator[Model]:
    with Model.load(bundle, threads=1, max_batch=8, rules=OPEN_LOOP, emit=events.append) as model:
        yield model


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle)


def reference(engine: Engine, images: np.ndarray, plan: Plan) -> list[Answer]:
    """Every image through every exit, alone; then the exit that the thresholds say."""
    answers = []
    for image in images:
        inputs: tuple[np.ndarray, ...] = (image[None],)
        probabilities = []
        for stage in range(engine.stages):
            output, inputs = engine.run(stage, inputs)
            probabilities.append(output)
        scores = np.stack([score(output, "max_probability") for output in probabilities], axis=1)
        exit_index = int(exits_taken(scores, plan.thresholds)[0])
        chosen = probabilities[exit_index][0]
        index = int(chosen.argmax())
        flops = EXIT_FLOPS[exit_index]
        answers.append(
            Answer(
                CLASSES[index], index, float(chosen[index]), exit_index + 1, flops, plan.budget_flops, "tiny"
            )
        )
    return answers


@pytest.mark.parametrize("budget", BUDGETS)
def test_answers_equal_the_reference(model: Model, engine: Engine, budget: str) -> None:
    images = tiny_images(50)
    assert model.classify(images, budget) == reference(engine, images, model.plan(budget))


def test_requests_of_all_budgets_share_batches_and_get_the_answers_they_get_alone(
    model: Model, engine: Engine, events: list[Event]
) -> None:
    images = tiny_images(80)
    requests = [model.submit(images[index], BUDGETS[index % len(BUDGETS)]) for index in range(len(images))]
    for index, request in enumerate(requests):
        plan = model.plan(BUDGETS[index % len(BUDGETS)])
        assert request.future.result(30) == reference(engine, images[index : index + 1], plan)
    assert max(event.rows for event in events if isinstance(event, StageRan)) > 1
    assert sum(isinstance(event, RequestDone) for event in events) == len(images)


def test_the_cheapest_budget_leaves_at_the_first_exit_and_the_full_one_at_the_last(model: Model) -> None:
    images = tiny_images(20)
    assert {answer.exit for answer in model.classify(images, EXIT_FLOPS[0])} == {1}
    assert {answer.exit for answer in model.classify(images, "100%")} == {len(EXIT_FLOPS)}


def test_the_server_may_choose_another_policy(bundle: Bundle, model: Model) -> None:
    with Model.load(bundle, rules=ServingConfig(policy="searched")) as other:
        assert other.plan("50%").thresholds.tolist() != model.plan("50%").thresholds.tolist()
        assert other.plan("50%").expected_flops <= 0.5 * bundle.manifest.exit_flops[-1]
    with pytest.raises(BundleError, match="expected a policy out of"):
        Model.load(bundle, rules=ServingConfig(policy="luck"))


def test_the_default_budget_is_full_depth_unless_said_otherwise(bundle: Bundle, model: Model) -> None:
    assert model.classify(tiny_images(1))[0].budget_flops == EXIT_FLOPS[-1]
    with Model.load(bundle, rules=ServingConfig(default_budget="50%")) as half:
        assert half.classify(tiny_images(1))[0].budget_flops == EXIT_FLOPS[-1] / 2
    with pytest.raises(BudgetError, match="unknown unit"):
        Model.load(bundle, rules=ServingConfig(default_budget="50 potatoes"))


def test_budgets_are_text_or_flops_and_a_plan_is_made_once(model: Model) -> None:
    assert model.plan(3500.0).expected_flops == model.plan("50%").expected_flops
    assert model.plan("50%") is model.plan("50%")
    assert model.plan(1e12).budget_flops == EXIT_FLOPS[-1]


@pytest.mark.parametrize("budget", [999, "999", "-5%", "", float("nan")])
def test_a_budget_that_buys_nothing_is_refused(model: Model, budget: str | float) -> None:
    with pytest.raises(BudgetError):
        model.submit(tiny_images(1), budget)


@pytest.mark.parametrize(
    "images",
    [
        tiny_images(2).astype(np.float32),
        tiny_images(0),
        tiny_images(2)[..., :1],
        np.zeros(3, np.uint8),
        tiny_images(2)[None],
    ],
)
def test_other_arrays_are_refused_with_what_was_expected_and_found(model: Model, images: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"expected images uint8 \[N > 0, H, W, 3\], or one of them, "):
        model.classify(images)


def test_what_is_no_array_of_the_models_size_is_not_submitted(model: Model) -> None:
    with pytest.raises(ImageError, match="expected a NumPy array of images, found str"):
        model.submit("cat.png")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"expected images uint8 \[N > 0, 8, 8, 3\], found "):
        model.submit(tiny_images(2)[:, :7])


def test_a_path_bytes_a_pillow_image_and_an_array_of_any_size_are_classified_alike(
    model: Model, tmp_path: Path
) -> None:
    large = np.repeat(np.repeat(tiny_images(1)[0], 3, axis=0), 3, axis=1)
    image, path = Image.fromarray(large), tmp_path / "image.png"
    image.save(path)
    found = model.classify([path, str(path), path.read_bytes(), image, large])
    assert len(found) == 5
    assert len({(answer.class_index, answer.confidence) for answer in found}) == 1
    assert [model.classify(each)[0] for each in (path, str(path), path.read_bytes(), image, large)] == found
    assert model.classify(large[None]) == found[:1]


def test_answers_come_to_a_task_as_to_a_caller_who_waits(model: Model) -> None:
    images = tiny_images(20)
    assert asyncio.run(model.classify_async(images, "50%")) == model.classify(images, "50%")


def test_a_cancelled_task_drops_its_images(bundle: Bundle) -> None:
    gate, told = threading.Event(), list[Event]()
    gate.set()  # for the engine's own trial

    class Held(Engine):
        def run(self, stage: int, inputs: Tensors) -> tuple[FloatArray, Tensors]:
            gate.wait()
            return super().run(stage, inputs)

    async def cancelled(model: Model) -> None:
        task = asyncio.create_task(model.classify_async(tiny_images(4)))
        while not model.stalled_seconds:  # it is not admitted yet
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Model(bundle, Held(bundle), RuntimeOptions(emit=told.append)) as model:
        gate.clear()
        try:
            asyncio.run(cancelled(model))
        finally:
            gate.set()
    assert [event.error for event in told if isinstance(event, RequestFailed)] == ["CancelledError"]


def test_a_stream_is_answered_in_its_order_and_read_no_further_than_it_must(model: Model) -> None:
    images, read = tiny_images(50), []

    def source() -> Iterator[np.ndarray]:
        for number, image in enumerate(images):
            read.append(number)
            yield image

    answers = model.stream(source(), "50%", ahead=8)
    first = next(answers)
    assert len(read) <= 9
    rest = list(answers)
    assert [first, *rest] == model.classify(images, "50%")
    assert list(model.stream([])) == []
    with pytest.raises(ValueError, match="expected ahead of 1 or more, found 0"):
        model.stream(images, ahead=0)


def test_a_stream_whose_source_fails_drops_what_is_under_way(model: Model) -> None:
    def source() -> Iterator[np.ndarray]:
        yield from tiny_images(3)
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        list(model.stream(source()))
    assert model.classify(tiny_images(1))


def test_a_model_says_what_it_is(bundle: Bundle) -> None:
    with Model.load(bundle, threads=1, max_batch=8) as model:
        costs = f"{format_flops(1_000)} to {format_flops(7_000)}"
        assert repr(model) == (
            f"<Model 'tiny': 3 exits, {costs}, 4 classes, 8x8, float32, CPUExecutionProvider>"
        )
    assert repr(model).endswith(", closed>")


def test_one_image_needs_no_batch_dimension(model: Model) -> None:
    image = tiny_images(1)[0]
    assert model.classify(image) == model.classify(image[None])


def test_classify_takes_more_than_the_queue_holds_and_submit_does_not(bundle: Bundle) -> None:
    images = tiny_images(50)
    with Model.load(bundle, max_queue_rows=16, rules=OPEN_LOOP) as small, Model.load(bundle) as large:
        assert small.classify(images, "50%") == large.classify(images, "50%")
        with pytest.raises(BodyTooLargeError):
            small.submit(images)


@pytest.mark.parametrize("max_batch", [1, 6, 16])
def test_answers_are_the_same_when_features_stay_on_the_device(
    max_batch: int, engine: Engine, tmp_path: Path
) -> None:
    gathering = tiny_bundle(tmp_path / "tiny", rows=True)
    rules = ServingConfig(controller=False, sample_share=1.0)
    with Model.load(
        gathering, threads=1, max_batch=max_batch, device_features="on", providers=[CPU], rules=rules
    ) as model:
        assert (model.features_on, model.providers, model.missing_providers) == ("device", (CPU,), ())
        asked = [(tiny_images(17, seed), budget) for seed, budget in enumerate(BUDGETS * 3)]
        requests = [model.submit(images, budget) for images, budget in asked]
        for request, (images, budget) in zip(requests, asked, strict=True):
            assert request.future.result(30) == reference(engine, images, model.plan(budget))
        hard = model.submit(tiny_images(9), ClassifyOptions(budget="60%", mode="hard")).future.result(30)
        assert sum(answer.flops for answer in hard) <= 9 * 0.6 * EXIT_FLOPS[-1]


def test_a_full_queue_is_said(bundle: Bundle) -> None:
    gate = threading.Event()

    class Waiting(Engine):
        def run(self, stage: int, inputs: Tensors) -> tuple[FloatArray, Tensors]:
            gate.wait()
            return super().run(stage, inputs)

    gate.set()  # the engine warms up
    engine = Waiting(bundle)
    gate.clear()
    with Model(bundle, engine, RuntimeOptions(max_queue_rows=8)) as model:
        request = model.submit(tiny_images(6))
        with pytest.raises(OverloadedError, match="6 of 8 images wait, and the request has 3"):
            model.submit(tiny_images(3))
        gate.set()
        assert len(request.future.result(30)) == 6


def test_a_closed_model_answers_what_it_admitted_and_refuses_the_rest(bundle: Bundle) -> None:
    model = Model.load(bundle)
    alive = [model.alive]
    requests = [model.submit(tiny_images(5)) for _ in range(10)]
    model.close()
    assert all(len(request.future.result(0)) == 5 for request in requests)
    assert [*alive, model.alive] == [True, False]
    with pytest.raises(ClosedError):
        model.classify(tiny_images(1))


def test_a_folder_loads_and_one_that_is_no_bundle_says_so(bundle: Bundle, tmp_path: Path) -> None:
    with Model.load(str(bundle.folder)) as model:
        assert model.name == "tiny"
        assert model.exit_flops == EXIT_FLOPS
        assert model.providers == ("CPUExecutionProvider",)
    with pytest.raises(BundleError):
        Model.load(tmp_path / "nothing")


def test_a_budget_in_time_is_kept_by_the_measured_costs(bundle: Bundle, events: list[Event]) -> None:
    """Every stage takes 1 ms on one image and 4 ms on eight; nothing here is timed in truth."""
    cost = CostModel(3)
    for stage in range(3):
        cost.learn(stage, 1, 0.001)
        cost.learn(stage, 8, 0.004)
    options = RuntimeOptions(rules=OPEN_LOOP, max_batch=8, emit=events.append)
    with Model(bundle, Engine(bundle), options, cost=cost) as model:
        assert model.exit_seconds == pytest.approx((0.0005375, 0.001075, 0.0016125))
        plan = model.plan("1.2ms")
        answers = model.classify(tiny_images(40), "1.2ms")
        hard = model.classify(tiny_images(40), ClassifyOptions(budget="1.2ms", mode="hard"))
        in_flops = model.classify(tiny_images(40), "60%")
        health = model.health()
    assert plan.budget_seconds == pytest.approx(0.0012)
    for answer in answers:
        assert answer.budget_seconds == pytest.approx(0.0012)
        assert answer.seconds == pytest.approx(model.exit_seconds[answer.exit - 1])
    assert sum(answer.seconds or 1 for answer in hard) <= 40 * 0.0012
    assert {answer.budget_seconds for answer in in_flops} == {None}
    done = [event for event in events if isinstance(event, RequestDone)]
    assert [event.time is not None for event in done] == [True, True, False]
    assert health.corrections is None


def test_the_loop_of_time_learns_from_times_and_the_other_from_flops(bundle: Bundle) -> None:
    cost = CostModel(3)
    for stage in range(3):
        cost.learn(stage, 1, 0.001)
    with Model(bundle, Engine(bundle), RuntimeOptions(max_batch=8), cost=cost) as model:
        model.classify(tiny_images(40), "2.2ms")
        of_time = model.health().corrections
        model.classify(tiny_images(40), "60%")
        both = model.health().corrections
    assert of_time is not None
    assert both is not None
    assert [label.endswith("% of time") for label in of_time] == [True]
    assert sorted(label.endswith("% of time") for label in both) == [False, True]


def test_models_that_get_the_same_cores_take_turns_until_they_close(bundle: Bundle) -> None:
    cores, images = Cores(2), tiny_images(8)
    first, second = (Model.load(bundle, name=name, threads=2, cores=cores) for name in ("first", "second"))
    shared = not cores.unshared
    assert shared
    requests = [model.submit(images, "100%") for model in (first, second) for _ in range(4)]
    answers = [[answer.class_index for answer in request.future.result(30)] for request in requests]
    assert answers == [answers[0]] * 8
    second.close()
    assert cores.unshared
    assert len(first.classify(images)) == len(images)
    first.close()


def test_a_model_that_cannot_be_made_leaves_the_cores_to_others(bundle: Bundle) -> None:
    cores = Cores(2)
    with Model.load(bundle, cores=cores) as model:
        with pytest.raises(BudgetError):
            Model.load(bundle, cores=cores, rules=ServingConfig(default_budget="1"))
        assert cores.unshared
        assert model.classify(tiny_images(1))
