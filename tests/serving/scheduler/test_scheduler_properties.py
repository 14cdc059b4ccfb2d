"""Whatever happens, every admitted row is answered once: random traffic, failures and cancellations."""

from collections import Counter
from concurrent.futures import Future

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serving.errors import BodyTooLargeError, EngineError, OverloadedError
from serving.events import RequestDone, RequestFailed, StageRan
from serving.scheduler.request import Constraints, Request
from tests.serving.fakes import EXIT_FLOPS, STAGES, Answers, Fixture

TERMS = Constraints(budget_flops=25.0, thresholds=())
exits = st.lists(st.integers(0, STAGES - 1), min_size=1, max_size=14)


class Traffic(RuleBasedStateMachine):
    """Requests of any size, with and without barriers, come, are cancelled, and meet failing batches."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Request[Answers], Answers]] = []
        self.resolved: Counter[int] = Counter()
        self.crashes = 0

    @initialize(
        capacity=st.integers(1, 30), max_batch=st.integers(1, 6), max_age=st.sampled_from([0.0, 0.02, 9])
    )
    def open(self, capacity: int, max_batch: int, max_age: float) -> None:
        self.capacity, self.max_batch = capacity, max_batch
        self.fixture = Fixture(capacity=capacity, max_batch=max_batch, max_age_seconds=max_age)

    @rule(exits=exits, barrier=st.booleans())
    def submit(self, exits: list[int], barrier: bool) -> None:
        inputs, expected = self.fixture.inputs(exits)
        waiting = self.fixture.scheduler.waiting_rows
        try:
            request = self.fixture.scheduler.submit(inputs, TERMS, barrier=barrier)
        except BodyTooLargeError:
            assert len(exits) > self.capacity
            return
        except OverloadedError:
            assert waiting + len(exits) > self.capacity
            return
        assert waiting + len(exits) <= self.capacity
        index = len(self.sent)
        self.sent.append((request, expected))

        def count(_: Future[Answers]) -> None:
            self.resolved[index] += 1

        request.future.add_done_callback(count)

    @rule(steps=st.integers(1, 4), stage_seconds=st.floats(0, 0.1))
    def step(self, steps: int, stage_seconds: float) -> None:
        self.fixture.net.stage_seconds = stage_seconds
        for _ in range(steps):
            self.fixture.scheduler.step()

    @rule(which=st.integers(0, 10**6))
    def cancel(self, which: int) -> None:
        if self.sent:
            self.sent[which % len(self.sent)][0].cancel()

    @rule(in_decider=st.booleans())
    def crash(self, in_decider: bool) -> None:
        failures = self.fixture.decider_failures if in_decider else self.fixture.net.failures
        failures.append(RuntimeError("crash"))
        self.fixture.scheduler.step()

    @invariant()
    def capacity_holds_and_batches_fit(self) -> None:
        if hasattr(self, "fixture"):
            assert 0 <= self.fixture.scheduler.waiting_rows <= self.capacity
            assert all(len(numbers) <= self.max_batch for _, numbers in self.fixture.net.ran)

    def teardown(self) -> None:
        if not hasattr(self, "fixture"):
            return
        self.fixture.drain()
        assert self.fixture.scheduler.waiting_rows == 0
        assert not self.fixture.scheduler.has_work
        for index, (request, expected) in enumerate(self.sent):
            assert self.resolved[index] == 1
            if request.future.cancelled():
                continue
            error = request.future.exception(0)
            if error is None:
                assert request.future.result(0) == expected
            else:
                assert isinstance(error, EngineError)
        self.check_work()
        self.check_barriers()
        self.check_events()

    def check_work(self) -> None:
        """No row runs twice through a stage or past its exit, and an answered one ran all before it."""
        ran = Counter((stage, number) for stage, numbers in self.fixture.net.ran for number in numbers)
        assert all(times == 1 for times in ran.values())
        for request, expected in self.sent:
            for number, exit_index in expected:
                stages = [stage for stage in range(STAGES) if (stage, number) in ran]
                assert stages == list(range(len(stages)))
                assert len(stages) <= exit_index + 1
                if not request.future.cancelled() and request.future.exception(0) is None:
                    assert len(stages) == exit_index + 1

    def check_barriers(self) -> None:
        """A request with a barrier is decided on once at each stage, whole and without strangers."""
        for request, expected in self.sent:
            numbers = {number for number, _ in expected}
            decisions = [(stage, set(rows)) for stage, rows in self.fixture.decided if numbers & set(rows)]
            if request.barrier:
                assert all(rows <= numbers for _, rows in decisions)
                assert len({stage for stage, _ in decisions}) == len(decisions)

    def check_events(self) -> None:
        """One ending is told for every request, and every batch that ran."""
        events = self.fixture.events
        done = [event for event in events if isinstance(event, RequestDone)]
        failed = [event for event in events if isinstance(event, RequestFailed)]
        assert len(done) + len(failed) == len(self.sent)
        answered = [r for r, _ in self.sent if not r.future.cancelled() and r.future.exception(0) is None]
        assert len(done) == len(answered)
        assert all(event.flops == tuple(EXIT_FLOPS[e] for e in event.exits) for event in done)
        assert sum(isinstance(event, StageRan) for event in events) == len(self.fixture.net.ran)


Traffic.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase
