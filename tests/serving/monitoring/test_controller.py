"""The closed loop: what counts, what it converges to, what bounds it, and what survives a restart."""

import json
import math
from collections import deque
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.events import BudgetCorrected, Event, RequestDone, TimeBudget
from serving.monitoring.controller import CLASS_WIDTH, BudgetController, ClassState, evidence
from serving.monitoring.reorder import ReorderBuffer
from serving.policy.confidence import calibration_score
from serving.policy.plan import Plan, exits_taken
from serving.policy.registry import fit_policy

EXIT_FLOPS = (10, 20, 40, 70, 100)
BUDGET = 45.0


def table(rows: int, harder: float, seed: int) -> np.ndarray:
    """Scores [rows, exits] that rise with depth; `harder` images are less sure at every exit."""
    random = np.random.default_rng(seed)
    ease = random.beta(2, 1, rows)[:, None] * (1 - harder)
    depth = np.linspace(0.4, 1, len(EXIT_FLOPS))
    noise = 0.08 * random.standard_normal((rows, len(EXIT_FLOPS)))
    confidence = np.clip(1 - (1 - ease) * (1.4 - depth) + noise, 0.05, 1)
    return calibration_score(confidence.astype(np.float32), seed)


class Loop:
    """A controller, a policy, and a stream of images."""

    def __init__(self, seed: int = 0) -> None:
        calibration = table(3000, 0.0, seed=99)
        correct = np.ones(calibration.shape, np.bool_)
        self.plan = cache(fit_policy("geometric", calibration, correct, EXIT_FLOPS).plan)
        self.events: list[Event] = []
        self.controller = BudgetController("m", EXIT_FLOPS, emit=self.events.append)
        self.random = np.random.default_rng(seed)

    def planned(self, budget: float = BUDGET) -> Plan:
        return self.plan(self.controller.effective(budget))

    def cost(self, pool: np.ndarray, budget: float = BUDGET) -> np.ndarray:
        costs: np.ndarray = np.array(EXIT_FLOPS)[exits_taken(pool, self.planned(budget).thresholds)]
        return costs

    def stream(self, pool: np.ndarray, images: int, batch: int = 8) -> float:
        """Serve images drawn from a pool; the mean cost."""
        total = 0
        for _ in range(images // batch):
            costs = self.cost(pool[self.random.integers(0, len(pool), batch)])
            self.controller.learn(BUDGET, costs.tolist())
            total += int(costs.sum())
        return total / images


def test_the_error_is_told_where_the_correction_is_at_its_bound() -> None:
    """All images go to the full depth, whatever is planned: the factor ends, the error goes on."""
    events: list[Event] = []
    controller = BudgetController("m", EXIT_FLOPS, emit=events.append)
    for _ in range(10_000):
        controller.learn(BUDGET, [EXIT_FLOPS[-1]])
    told = [event for event in events if isinstance(event, BudgetCorrected)]
    at_bound = [event for event in told if event.factor == told[-1].factor]
    assert told[-1].factor == pytest.approx(EXIT_FLOPS[0] / BUDGET, rel=2e-3)
    assert len(at_bound) > 10
    assert told[-1].error == pytest.approx(EXIT_FLOPS[-1] / BUDGET - 1, abs=0.02)
    assert len(told) < 1000


@pytest.mark.parametrize("harder", [0.25, -0.1])
def test_after_a_change_of_the_images_the_budget_holds_again(harder: float) -> None:
    pool = table(10_000, harder, seed=1)
    in_force, realised = [], []
    for seed in range(4):
        loop = Loop(seed)
        loop.stream(table(2000, 0.0, seed=2), 2000)
        assert abs(loop.cost(pool).mean() / BUDGET - 1) > 0.05  # else there is nothing to show
        first = loop.stream(pool, 2000)
        in_force.append(loop.cost(pool).mean() / BUDGET - 1)
        realised.append((first * 2000 + loop.stream(pool, 8000) * 8000) / 10_000 / BUDGET - 1)
    assert np.abs(in_force).mean() < 0.02
    assert np.abs(realised).max() < 0.02


def test_without_a_change_it_stays_near_what_was_asked() -> None:
    loop = Loop()
    realised = loop.stream(table(10_000, 0.0, seed=3), 20_000)
    assert abs(realised / BUDGET - 1) < 0.02
    assert loop.controller.effective(BUDGET) == pytest.approx(BUDGET, rel=0.06)


def test_a_budget_that_was_never_asked_for_is_not_corrected() -> None:
    controller = BudgetController("m", EXIT_FLOPS)
    controller.learn(40.0, [100] * 500)
    assert controller.effective(80.0) == 80.0
    assert controller.effective(40.0) < 40.0


@pytest.mark.parametrize(("cost", "bound"), [(100, 10.0), (10, 100.0)])
def test_it_saturates_at_what_there_is_and_comes_back_at_once(cost: int, bound: float) -> None:
    controller = BudgetController("m", EXIT_FLOPS)
    controller.learn(BUDGET, [cost] * 50_000)
    assert controller.effective(BUDGET) == pytest.approx(bound, rel=0.003)
    assert 10 <= controller.effective(BUDGET) <= 100
    other = 110 - cost
    controller.learn(BUDGET, [other] * 500)
    assert abs(math.log(controller.effective(BUDGET) / bound)) > 0.05


@given(
    st.lists(st.tuples(st.floats(10, 100), st.lists(st.sampled_from(EXIT_FLOPS), min_size=1, max_size=9))),
    st.floats(10, 100),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_learned_the_effective_budget_can_be_planned_for(
    learned: list[tuple[float, list[int]]], budget: float
) -> None:
    controller = BudgetController("m", EXIT_FLOPS)
    for asked, flops in learned:
        controller.learn(asked, flops)
    assert 10 <= controller.effective(budget) <= 100


def test_only_average_budgets_of_its_own_model_count() -> None:
    controller = BudgetController("m", EXIT_FLOPS)

    def done(model: str, kind: str) -> RequestDone:
        return RequestDone(
            model, exits=(4,) * 100, flops=(100,) * 100, budget_flops=40.0, seconds=1, kind=kind
        )

    for kind in ("hard", "deadline", "guarantee"):
        controller(done("m", kind))
    controller(done("other", "average"))
    assert controller.effective(40.0) == 40.0
    assert controller.state() == {}
    controller(done("m", "average"))
    assert controller.effective(40.0) < 40.0


def test_each_loop_counts_budgets_of_its_own_unit() -> None:
    in_flops, in_time = (BudgetController("m", EXIT_FLOPS, of_time=of_time) for of_time in (False, True))
    time = TimeBudget(seconds=40e-9, exit_seconds=tuple(1e-9 * cost for cost in EXIT_FLOPS))
    done = RequestDone("m", exits=(4,) * 100, flops=(100,) * 100, budget_flops=40.0, seconds=1, time=time)
    for controller in (in_flops, in_time):
        controller(done)
    assert in_flops.state() == {}
    assert in_time.effective(40.0) < 40.0
    assert [label.endswith("% of time") for label in in_time.corrections()] == [True]


def test_classes_are_five_percent_wide_and_named_by_their_share_of_the_full_depth() -> None:
    controller = BudgetController("m", EXIT_FLOPS)
    edges = [10 * CLASS_WIDTH**number for number in range(5)]
    assert [controller.budget_class(edge) for edge in edges] == list(range(5))
    assert controller.budget_class(10 * 1.0499) == 0
    assert controller.budget_class(100) == 47
    assert [controller.label(number) for number in (0, 1, 47)] == ["10%", "10.5%", "99.1%"]


def test_the_class_used_longest_ago_makes_room() -> None:
    controller = BudgetController("m", EXIT_FLOPS, max_classes=2)
    for budget in (20.0, 40.0, 20.0, 80.0):
        controller.learn(budget, [100] * 50)
    assert controller.effective(40.0) == 40.0
    assert controller.effective(20.0) < 20.0
    assert len(controller.state()) == 2


def test_a_step_of_the_correction_is_told_once() -> None:
    loop = Loop()
    loop.controller.learn(40.0, [40])
    assert loop.events == []
    loop.controller.learn(40.0, [100] * 20)
    loop.controller.learn(40.0, [40])
    [event] = loop.events
    assert isinstance(event, BudgetCorrected)
    assert (event.model, event.budget_class) == ("m", loop.controller.label(28))
    assert event.factor < 1 < 1 + event.error
    [in_force] = loop.controller.corrections().values()
    assert (in_force.budget_class, in_force.factor) == (event.budget_class, event.factor)


def test_what_was_learned_survives_json() -> None:
    one = BudgetController("m", EXIT_FLOPS)
    one.learn(40.0, [100] * 500)
    one.learn(80.0, [40] * 500)
    two = BudgetController("m", EXIT_FLOPS)
    two.restore(json.loads(json.dumps(one.state())))
    assert two.state() == one.state()
    for controller in (one, two):
        controller.learn(40.0, [10] * 20)
    assert two.effective(40.0) == one.effective(40.0)


@pytest.mark.parametrize("state", [{"1": {}}, {"1": {"log_factor": 1.0}}, {"one": {}}])
def test_a_foreign_state_is_refused_and_changes_nothing(state: dict[str, dict[str, float]]) -> None:
    controller = BudgetController("m", EXIT_FLOPS)
    controller.learn(40.0, [100] * 500)
    before = controller.state()
    with pytest.raises(ValueError, match="expected"):
        controller.restore(state)
    assert controller.state() == before


def test_a_state_with_a_number_that_is_not_finite_is_refused() -> None:
    controller = BudgetController("m", EXIT_FLOPS)
    controller.learn(40.0, [100])
    state = controller.state()
    state["28"]["log_factor"] = math.nan
    with pytest.raises(ValueError, match="finite"):
        controller.restore(state)


@pytest.mark.parametrize(
    "change", [{"log_factor": 1000.0}, {"over": 1e9, "over_images": 0}, {"images": 0.0}, {"variance": -1.0}]
)
def test_a_state_that_learning_could_not_leave_is_refused(change: dict[str, float]) -> None:
    controller = BudgetController("m", EXIT_FLOPS)
    controller.learn(40.0, [100])
    state = controller.state()
    state["28"].update(change)
    with pytest.raises(ValueError, match="as learning leaves it"):
        controller.restore(state)


@pytest.mark.parametrize(("exact", "neighbour", "spent"), [(100.0, 97.0, 100), (10.0, 10.3, 10)])
def test_a_budget_that_can_be_met_exactly_is_not_corrected(
    exact: float, neighbour: float, spent: int
) -> None:
    controller = BudgetController("m", EXIT_FLOPS)
    controller.learn(neighbour, [spent] * 5000)
    assert controller.effective(neighbour) != neighbour
    assert controller.effective(exact) == exact


def test_bursts_whose_cheap_images_are_answered_first_do_not_look_like_changing_traffic() -> None:
    controller = BudgetController("m", EXIT_FLOPS)
    listen = ReorderBuffer(controller)
    random = np.random.default_rng(3)
    for burst in range(20):
        planned = controller.effective(40.0)
        costs = random.choice([10, 20, 100], size=600, p=[0.5, 0.25, 0.25]) * planned / 35.0
        for index in np.argsort(costs, kind="stable").tolist():
            flops, number = (int(costs[index]),), 600 * burst + index
            listen(RequestDone("m", (0,), flops, 40.0, 0.1, planned_flops=planned, number=number))
        # The mean costs what is planned for: there is nothing to correct but chance.
        assert controller.effective(40.0) == pytest.approx(40.0, rel=0.12)


def test_traffic_whose_cost_is_steep_in_the_planned_budget_is_corrected_without_swinging() -> None:
    """All images go to the full depth at a tenth above 37, none at a tenth below; 64 are always under way."""

    def chance(planned: float) -> float:
        """Of going to the full depth."""
        return 1 / (1 + (37.0 / planned) ** 50)

    errors = []
    for seed in range(3):
        random, waiting = np.random.default_rng(seed), deque[tuple[int, float]]()
        controller = BudgetController("m", EXIT_FLOPS)
        for image in range(6000):
            planned = controller.effective(BUDGET)
            waiting.append((100 if random.random() < chance(planned) else 10, planned))
            if len(waiting) > 64:
                cost, frozen = waiting.popleft()
                controller.learn(BUDGET, [cost], frozen)
            if image >= 3000 and not image % 500:
                errors.append((10 + 90 * chance(controller.effective(BUDGET))) / BUDGET - 1)
    assert np.abs(errors).mean() < 0.15


def test_what_was_corrected_already_is_not_corrected_again_while_answers_are_under_way() -> None:
    """Traffic costs half as much again as planned, and 3,000 images are always under way."""
    controller = BudgetController("m", EXIT_FLOPS)
    random = np.random.default_rng(4)
    under_way = deque([40.0] * 3000)
    lowest = 40.0
    for _ in range(30_000):
        planned = under_way.popleft()
        controller.learn(40.0, [round(1.5 * planned * random.choice([0.4, 1.6]))], planned)
        under_way.append(controller.effective(40.0))
        lowest = min(lowest, under_way[-1])
    assert controller.effective(40.0) == pytest.approx(40.0 / 1.5, rel=0.05)
    assert lowest > 0.85 * 40.0 / 1.5


SHIPPED_FLOPS = np.array([6.06, 9.5, 15.0, 22.0, 31.7])
"""About those of the networks that come with the project, in MFLOPs."""


def geometric_errors(share: float, images: int, seed: int) -> list[float]:
    """Relative errors of images that leave in geometric shares which cost `share` of the full depth."""
    budget, low, high = share * SHIPPED_FLOPS[-1], 1e-6, 1e6
    for _ in range(100):
        q = (low * high) ** 0.5
        weights = q ** np.arange(5.0) / (q ** np.arange(5.0)).sum()
        low, high = (q, high) if weights @ SHIPPED_FLOPS < budget else (low, q)
    drawn = np.random.default_rng(seed).choice(SHIPPED_FLOPS / budget - 1, images, p=weights)
    values: list[float] = drawn.tolist()
    return values


@pytest.mark.parametrize("share", [0.3, 0.8, 0.95])
def test_false_alarms_are_rare_at_every_budget(share: float) -> None:
    state, restarts = ClassState(), 0
    for error in geometric_errors(share, 200_000, seed=0):
        before = state.images
        state.learn(error, error)
        restarts += state.images < before
    assert restarts <= 3


@pytest.mark.parametrize(("variance", "limit"), [(0.5, 62.5), (0.25, 34.1207), (0.02, 3.57148), (0.0, 0.0)])
def test_the_evidence_that_is_asked_for(variance: float, limit: float) -> None:
    assert evidence(variance) == pytest.approx(limit, rel=2e-3)
