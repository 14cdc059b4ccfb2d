"""A real model under every kind of promise: deadlines by the wall clock, hard sums, guarantees, the watch."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.engine.engine import Engine
from serving.errors import BudgetError, DeadlineError, TermsError
from serving.events import BudgetsLowered, Event, ExitShadowed, RequestDone
from serving.interfaces import FloatArray, Tensors
from serving.model import Model, RuntimeOptions
from serving.options import ClassifyOptions, ServingConfig
from serving.web.answer_bytes import AnswerResponse
from tests.bundles import EXIT_FLOPS, tiny_bundle, tiny_images
from tests.serving.fakes import Clock


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


class Gated(Engine):
    """Stages from `gated_from` on wait until the gate is open."""

    gated_from = 99

    def __init__(self, bundle: Bundle) -> None:
        self.gate = threading.Event()
        super().__init__(bundle)

    def run(self, stage: int, inputs: Tensors) -> tuple[FloatArray, Tensors]:
        if stage >= self.gated_from:
            self.gate.wait()
        return super().run(stage, inputs)


@contextmanager
def opened_at_last(engine: Gated) -> Iterator[None]:
    """Open the gate also where a test fails: a model waits for its worker."""
    try:
        yield
    finally:
        engine.gate.set()


@pytest.fixture
def gated(bundle: Bundle) -> Iterator[Callable[[int], Model]]:
    engine, models = Gated(bundle), []

    def make(gated_from: int) -> Model:
        engine.gated_from = gated_from
        models.append(Model(bundle, engine))
        return models[-1]

    yield make
    engine.gate.set()
    for model in models:
        model.close()


def test_the_answer_is_there_at_the_deadline_though_the_worker_is_stuck_in_a_stage(
    gated: Callable[[int], Model],
) -> None:
    answers = gated(1).submit(tiny_images(3), ClassifyOptions("100%", deadline_seconds=1.0)).future.result(30)
    assert [answer.exit for answer in answers] == [1, 1, 1]
    assert all(answer.deadline_met is not None for answer in answers)
    assert {answer.budget_flops for answer in answers} == {EXIT_FLOPS[-1]}


def test_where_no_exit_was_done_there_is_none(gated: Callable[[int], Model]) -> None:
    request = gated(0).submit(tiny_images(3), ClassifyOptions(deadline_seconds=0.05))
    with pytest.raises(DeadlineError, match="no exit was done for 3 of 3 images"):
        request.future.result(30)


def test_a_deadline_far_away_changes_no_answer(bundle: Bundle) -> None:
    with Model.load(bundle, rules=ServingConfig(controller=False)) as model:
        images = tiny_images(40)
        answers = model.classify(images, ClassifyOptions("50%", deadline_seconds=600))
        assert {answer.deadline_met for answer in answers} == {True}
        plain = model.classify(images, "50%")
        assert {answer.deadline_met for answer in plain} == {None}
        assert [answer.exit for answer in answers] == [answer.exit for answer in plain]


def test_a_deadline_that_was_over_before_admission_admits_nothing(bundle: Bundle) -> None:
    with Model.load(bundle) as model, pytest.raises(DeadlineError, match="received and decoded"):
        model.submit(tiny_images(1), ClassifyOptions(deadline_seconds=1), received_at=-1e9)


@pytest.mark.parametrize("share", [0.15, 0.3, 0.6, 1.0])
def test_a_hard_budget_holds_for_every_request(bundle: Bundle, share: float) -> None:
    budget = share * EXIT_FLOPS[-1]
    with Model.load(bundle, max_batch=8, max_queue_rows=64) as model:
        for images in (1, 7, 64, 100):
            answers = model.classify(tiny_images(images, seed=images), ClassifyOptions(budget, mode="hard"))
            assert len(answers) == images
            assert sum(answer.flops for answer in answers) <= images * budget


def test_a_guarantee_needs_images_and_takes_a_cap(bundle: Bundle) -> None:
    with Model.load(bundle) as model:
        answers = model.classify(tiny_images(20), ClassifyOptions(max_drop=0.3))
        assert answers[0].budget_flops <= EXIT_FLOPS[-1]
        with pytest.raises(TermsError, match="certifying images"):
            model.classify(tiny_images(1), ClassifyOptions(max_drop=0.001))
        with pytest.raises(BudgetError, match="over the budget"):
            model.classify(tiny_images(1), ClassifyOptions(budget=float(EXIT_FLOPS[0]), max_drop=0.1))


def test_a_guarantee_shows_what_it_rests_on_and_takes_the_servers_delta(bundle: Bundle) -> None:
    strict = ServingConfig(delta=0.001)
    with Model.load(bundle) as model, Model.load(bundle, rules=strict) as stricter:
        found = model.guarantee(0.3)
        assert (found.certificate.max_drop, found.certificate.delta) == (0.3, 0.05)
        assert found.certificate.images == bundle.calibration.certify.sum()
        assert found.certificate.risk <= 0.3
        assert stricter.guarantee(0.3).certificate.delta == 0.001
        assert stricter.guarantee(0.3).plan.expected_flops >= found.plan.expected_flops
        answers = model.classify(tiny_images(2), ClassifyOptions(max_drop=0.3))
        assert {answer.budget_flops for answer in answers} == {found.plan.budget_flops}
        with pytest.raises(TermsError, match="between 0 and 1"):
            model.guarantee(1.0)


def test_a_servers_guarantee_stands_in_for_the_default_budget_alone(bundle: Bundle) -> None:
    events: list[Event] = []
    with Model.load(bundle, rules=ServingConfig(max_drop=0.3), emit=events.append) as model:
        for ask in (None, "50%", ClassifyOptions(mode="hard"), ClassifyOptions(deadline_seconds=60)):
            model.classify(tiny_images(1), ask)
    kinds = [event.kind for event in events if isinstance(event, RequestDone)]
    assert kinds == ["guarantee", "average", "hard", "deadline"]
    with pytest.raises(TermsError, match="certifying images"):
        Model.load(bundle, rules=ServingConfig(max_drop=0.001))


def test_the_loop_corrects_what_images_cost_and_remembers_it(bundle: Bundle) -> None:
    images = tiny_images(400)
    opened = ServingConfig(controller=False)
    with Model.load(bundle) as model, Model.load(bundle) as other, Model.load(bundle, rules=opened) as off:
        for start in range(0, 400, 40):
            model.classify(images[start : start + 40], "40%")
        assert model.state()
        other.restore(model.state())
        assert other.health().corrections == model.health().corrections
        assert (off.state(), off.health().corrections) == ({}, None)
        off.restore(model.state())
        assert off.state() == {}


def test_early_answers_are_checked_in_idle_time_and_counted_for_nobody(bundle: Bundle) -> None:
    events: list[Event] = []
    checked = threading.Semaphore(0)

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, ExitShadowed):
            checked.release()

    rules = ServingConfig(default_budget="50%", sample_share=1.0)
    images = tiny_images(60)
    with Model.load(bundle, rules=rules, emit=listen) as model:
        answers = model.classify(images)
        early = [index for index, answer in enumerate(answers) if answer.exit < 3]
        assert early
        for _ in early:
            assert checked.acquire(timeout=30)
        final = model.classify(images[early], "100%")
        health = model.health()
    watched = [event for event in events if isinstance(event, ExitShadowed)]
    agreeing = [a.class_index == answers[i].class_index for i, a in zip(early, final, strict=True)]
    assert sorted((e.exit_index, e.agreed) for e in watched) == sorted(
        (answers[index].exit - 1, agreed) for index, agreed in zip(early, agreeing, strict=True)
    )
    assert sum(found.watched for found in health.agreement.values()) == len(early)
    assert sum(len(event.exits) for event in events if isinstance(event, RequestDone)) == 60 + len(early)
    assert health.unchecked == 0


def test_callers_go_before_what_has_time(bundle: Bundle) -> None:
    """A caller who comes while an early answer is checked waits for one stage of that, not for three."""
    order: list[str] = []
    made, caller_came, check_began = threading.Event(), threading.Event(), threading.Event()

    class Noting(Engine):
        def run(self, stage: int, inputs: Tensors) -> tuple[FloatArray, Tensors]:
            if made.is_set():
                runs.append(stage)
            if len(runs) > 1:
                order.append(f"stage {stage + 1}")
                if not check_began.is_set():
                    check_began.set()
                    assert caller_came.wait(30)
            return super().run(stage, inputs)

    runs: list[int] = []
    engine = Noting(bundle)
    made.set()
    rules = ServingConfig(default_budget=float(EXIT_FLOPS[0]), sample_share=1.0, controller=False)
    with Model(bundle, engine, RuntimeOptions(rules=rules)) as model:
        model.submit(tiny_images(1))
        assert check_began.wait(30)
        second = model.submit(tiny_images(1, seed=1))
        second.future.add_done_callback(lambda _: order.append("answered"))
        caller_came.set()
        second.future.result(30)
    assert order[:3] == ["stage 1", "stage 1", "answered"]


def test_health_tells_of_drift(bundle: Bundle) -> None:
    """Random pixels score nothing like the tiny bundle's invented calibration."""
    with Model.load(bundle, rules=ServingConfig(drift_window_rows=50)) as model:
        assert model.health().status == "ok"
        model.classify(tiny_images(60), "100%")
        assert set(model.health().drift) == {2}  # heads that nobody could leave at did not run
        model.classify(tiny_images(300), "90%")
        health = model.health()
        assert set(health.drift) == {0, 1, 2}
        assert health.drift[0].score > health.drift[0].limit
        assert health.status == "drifting"
    assert model.health().status == "dead"
    assert np.isfinite(health.drift[2].score)


def test_while_too_much_waits_average_budgets_are_lowered_and_no_other_promise(bundle: Bundle) -> None:
    engine, clock, events = Gated(bundle), Clock(), list[Event]()
    engine.gated_from = 0
    options = RuntimeOptions(max_queue_rows=64, clock=clock, emit=events.append)
    asks = {
        "average": ClassifyOptions("100%"),
        "cheapest": ClassifyOptions("1000FLOPs"),
        "cheap": ClassifyOptions(f"{1.2 * EXIT_FLOPS[0]}FLOPs"),
        "high": ClassifyOptions("100%", priority="high"),
        "hard": ClassifyOptions("80%", mode="hard"),
        "deadline": ClassifyOptions("100%", deadline_seconds=3600),
        "guarantee": ClassifyOptions(max_drop=0.2),
        "explain": ClassifyOptions("100%", explain=True),
    }
    with Model(bundle, engine, options) as model, opened_at_last(engine):
        waiting = [model.submit(tiny_images(16))]
        for _ in range(20):
            clock.now += 0.2
            waiting.append(model.submit(tiny_images(1)))
        works = {name: model.submit(tiny_images(1), ask) for name, ask in asks.items()}
        engine.gate.set()
        answers = {name: work.future.result(30)[0] for name, work in works.items()}
        assert all(work.future.result(30) for work in waiting)
    assert answers["average"].budget_share == pytest.approx(0.25)
    assert answers["average"].budget_flops == pytest.approx(0.25 * EXIT_FLOPS[-1])
    assert {name for name, answer in answers.items() if answer.budget_share < 1} == {"average", "cheap"}
    assert answers["cheap"].budget_flops == EXIT_FLOPS[0]
    assert AnswerResponse([answers["cheap"]], listed=False).status_code == 200
    assert answers["hard"].budget_flops == pytest.approx(0.8 * EXIT_FLOPS[-1])
    lowered = [event for event in events if isinstance(event, RequestDone) and event.budget_share < 1]
    assert {event.kind for event in lowered} == {"average"}
    assert all(event.budget_flops < EXIT_FLOPS[-1] for event in lowered)
    first = next(event for event in events if isinstance(event, BudgetsLowered))
    assert (first.priority, first.share < 1) == ("normal", True)


def test_without_brown_out_budgets_stay(bundle: Bundle) -> None:
    engine, clock = Gated(bundle), Clock()
    engine.gated_from = 0
    rules = ServingConfig(brownout=False)
    options = RuntimeOptions(rules, max_queue_rows=64, clock=clock)
    with Model(bundle, engine, options) as model, opened_at_last(engine):
        works = [model.submit(tiny_images(16))]
        for _ in range(20):
            clock.now += 0.2
            works.append(model.submit(tiny_images(1)))
        model.look_after()
        engine.gate.set()
        assert {work.future.result(30)[0].budget_share for work in works} == {1.0}
