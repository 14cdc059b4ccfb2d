"""What every exit says of one image: the same as the exits say alone, and outside every count but one."""

from collections.abc import Iterator

import numpy as np
import pytest

from serving.answer import Answer
from serving.bundle import Bundle
from serving.engine.engine import Engine
from serving.errors import TermsError
from serving.events import Event, RequestDone
from serving.model import Model, ServingConfig
from serving.options import ClassifyOptions
from serving.telemetry.metrics import Metrics
from tests.bundles import CLASSES, EXIT_FLOPS, tiny_bundle, tiny_images

RULES = ServingConfig(controller=True, sample_share=1.0, drift_window_rows=1)
EXPLAIN = ClassifyOptions("40%", explain=True, probabilities=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def model(bundle: Bundle, events: list[Event]) -> Iterator[Model]:
    with Model.load(bundle, threads=1, rules=RULES, emit=events.append) as model:
        yield model


def test_every_exit_says_what_it_says_alone(model: Model, bundle: Bundle) -> None:
    engine, plan = Engine(bundle), model.plan("40%")
    for image in tiny_images(20):
        (answer,) = model.classify(image, EXPLAIN)
        inputs: tuple[np.ndarray, ...] = (image[None],)
        assert answer.exits is not None
        assert [report.exit for report in answer.exits] == [1, 2, 3]
        for stage, report in enumerate(answer.exits):
            probabilities, inputs = engine.run(stage, inputs)
            index, found = int(probabilities[0].argmax()), float(bundle.scorer(stage, probabilities)[0])
            assert (report.class_index, report.class_name) == (index, CLASSES[index])
            assert (report.score, report.confidence) == (found, float(probabilities.max()))
            assert report.flops == EXIT_FLOPS[stage]
            last = stage == len(EXIT_FLOPS) - 1
            assert report.threshold == (None if last else plan.thresholds[stage])
            assert report.leaves == (last or found >= plan.thresholds[stage])


def test_the_answer_is_the_one_that_the_budget_gives(model: Model) -> None:
    images = tiny_images(30)
    plain = [model.classify(image, ClassifyOptions("40%", probabilities=True))[0] for image in images]
    explained = [model.classify(image, EXPLAIN)[0] for image in images]
    assert {answer.exit for answer in explained} > {1}
    for one, other in zip(plain, explained, strict=True):
        assert (one.exit, one.class_index, one.flops) == (other.exit, other.class_index, other.flops)
        assert one.probabilities is not None
        assert other.probabilities is not None
        assert np.array_equal(one.probabilities, other.probabilities)
        assert one.top(2) == other.top(2)


def test_it_counts_as_watching_and_as_nothing_else(model: Model, events: list[Event]) -> None:
    model.classify(tiny_images(1), EXPLAIN)
    assert [type(event).__name__ for event in events if not isinstance(event, RequestDone)] == [
        "StageRan"
    ] * 3
    (done,) = (event for event in events if isinstance(event, RequestDone))
    assert (done.kind, done.flops) == ("explain", EXIT_FLOPS[-1:])
    assert model.health().corrections == {}
    metrics = Metrics()
    metrics.loaded("tiny", EXIT_FLOPS)
    for event in events:
        metrics(event)
    text = metrics.text().decode()
    assert f'offramp_watch_flops_total{{model="tiny"}} {EXIT_FLOPS[-1]:.1f}' in text
    assert 'offramp_spent_flops_total{kind="average",model="tiny"} 0.0' in text
    assert 'offramp_exits_total{exit="3",model="tiny"} 0.0' in text
    assert 'kind="explain"' not in text


def test_it_shares_batches_with_requests_of_other_kinds(model: Model) -> None:
    images = tiny_images(40)
    asks = [EXPLAIN, ClassifyOptions("40%"), ClassifyOptions("40%", mode="hard"), ClassifyOptions()]
    requests = [model.submit(image, asks[index % len(asks)]) for index, image in enumerate(images)]
    answers = [request.future.result(30)[0] for request in requests]
    assert [answer.exits is not None for answer in answers] == [index % 4 == 0 for index in range(40)]


def test_it_is_of_one_image(model: Model) -> None:
    with pytest.raises(TermsError, match="one image a request, found 2"):
        model.classify(tiny_images(2), EXPLAIN)


def test_a_guarantee_is_explained_by_its_own_thresholds(model: Model) -> None:
    guaranteed = model.guarantee(0.3)
    (answer,) = model.classify(tiny_images(1), ClassifyOptions(max_drop=0.3, explain=True))
    assert answer.exits is not None
    assert [report.threshold for report in answer.exits[:-1]] == list(guaranteed.plan.thresholds[:-1])


def test_answers_without_probabilities_name_no_top() -> None:
    with pytest.raises(ValueError, match="ask for them"):
        Answer("cat", 3, 0.93, 2, 1, 1.0, "digits").top(1)


def test_probabilities_are_copies_of_their_row_alone(model: Model) -> None:
    answers = model.classify(tiny_images(4), ClassifyOptions(probabilities=True))
    for answer in answers:
        assert answer.probabilities is not None
        assert (answer.probabilities.base, answer.probabilities.shape) == (None, (4,))
        assert answer.probabilities.max() == np.float32(answer.confidence)
    assert model.classify(tiny_images(1))[0].probabilities is None
