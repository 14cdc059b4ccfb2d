"""Turns what a request asks for into the terms that it is served under."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from serving.bundle import Bundle
from serving.bundle.cost_plans import KEPT, CostPlans
from serving.errors import BudgetError
from serving.events import BudgetKind, TimeBudget
from serving.monitoring.brownout import BrownOut
from serving.monitoring.controller import BudgetController
from serving.options import Budget, ClassifyOptions, ServingConfig, check
from serving.policy.budget import affordable, format_seconds, is_time, parse_budget, parse_seconds
from serving.policy.group_path import GroupPath
from serving.policy.guarantee import Certifier, Guaranteed
from serving.policy.plan import Plan
from serving.scheduler.deadlines import answer_seconds
from serving.scheduler.head_skipping import next_exits
from serving.scheduler.request import Constraints

_NANO = 1e9


@dataclass(frozen=True, slots=True)
class _Asked:
    """A budget: FLOPs per image, or nanoseconds."""

    cost: float
    in_time: bool


class Planner:
    """The policy, the guarantee and the closed loop of one model, and what they make of a request.

    Args:
        bundle: what is served.
        rules: the defaults.
        controller: corrects budgets in FLOPs; None leaves them as they are.
        brownout: lowers budgets while too much waits; None never does.
        exit_seconds: [K] seconds of compute per image of leaving at each exit; without them no budget can be
            a time.
        time_controller: corrects budgets in time, in nanoseconds; None leaves them as they are.

    Raises:
        BudgetError, TermsError, BundleError: a default cannot be used, or there is no such policy.
    """

    def __init__(
        self,
        bundle: Bundle,
        rules: ServingConfig,
        controller: BudgetController | None,
        brownout: BrownOut | None = None,
        *,
        exit_seconds: Sequence[float] = (),
        time_controller: BudgetController | None = None,
    ) -> None:
        self._bundle = bundle
        self._rules = rules
        self._exit_flops = bundle.manifest.exit_flops
        self.exit_seconds = tuple(exit_seconds)
        self._time_controller = time_controller
        self._brownout: BrownOut | None = None  # nobody waits while the defaults are tried
        self._flops = CostPlans(
            bundle, self._exit_flops, rules.policy, None if controller is None else controller.effective
        )
        self._read = lru_cache(maxsize=KEPT, typed=True)(self._parse)
        self._average = lru_cache(maxsize=KEPT)(self._plan_average)
        self._average_time = lru_cache(maxsize=KEPT)(self._plan_time)
        self._guarantee = lru_cache(maxsize=KEPT)(self._certify)
        self._expected = lru_cache(maxsize=KEPT)(self._expect)
        self.terms(ClassifyOptions(budget=rules.default_budget), 0.0)
        self.terms(ClassifyOptions(), 0.0)
        self._brownout = brownout

    @property
    def table(self) -> npt.NDArray[np.float64]:
        """The policy's path, threshold vectors [R, K] that never fall."""
        return self._flops.policy.table

    def group_path(self) -> GroupPath:
        """Return what shares out hard budgets, along the policy's own path."""
        return self._flops.group_path()

    @cached_property
    def time_group_path(self) -> GroupPath:
        """What shares out hard budgets in time, in nanoseconds; made with the first such request."""
        return self._time.group_path()

    @property
    def exit_nanoseconds(self) -> tuple[int, ...]:
        """The costs of leaving at each exit, where budgets are times."""
        return nanoseconds(self.exit_seconds)

    def plan(self, budget: Budget | None) -> Plan:
        """Accuracy and cost under a budget (the default if None), on images without fitted thresholds.

        Raises:
            BudgetError: no such budget, or none that buys an exit.
        """
        return self._expected(self._read(self._rules.default_budget if budget is None else budget))

    def guarantee(self, max_drop: float, budget: Budget | None = None) -> Guaranteed:
        """The cheapest thresholds proven to lose at most `max_drop`, and what that rests on.

        Args:
            max_drop: the share of answers that may be lost, in (0, 1).
            budget: a cap on what they may cost.

        Raises:
            BudgetError, TermsError: there are none.
        """
        found = self._guaranteed(max_drop, budget)
        judged = replace(self._flops.judge(found.plan), budget_seconds=found.plan.budget_seconds)
        return replace(found, plan=self._with_seconds(judged))

    def terms(self, ask: ClassifyOptions, received_at: float) -> Constraints:
        """The constraints of a request: thresholds as they stand now, a deadline by the clock.

        Args:
            ask: what it asks for.
            received_at: the clock's seconds from which its deadline counts.

        Raises:
            BudgetError, TermsError: what it asks for cannot be used.
        """
        check(ask, self._bundle.name)
        terms = self._terms(ask, received_at)
        if ask.explain:
            terms = replace(terms, kind="explain", next_exits=())
        if ask.probabilities or ask.timings:
            terms = replace(terms, probabilities=ask.probabilities, timed=ask.timings)
        return terms

    def _terms(self, ask: ClassifyOptions, received_at: float) -> Constraints:
        alone = ask.budget is None and ask.mode == "average" and ask.deadline_seconds is None
        max_drop = self._rules.max_drop if alone and ask.max_drop is None else ask.max_drop
        if max_drop is not None:
            plan = self._guaranteed(max_drop, ask.budget).plan
            terms = _terms(plan.budget_flops, plan, "guarantee")
            if plan.budget_seconds is None:
                return terms
            return replace(terms, time=self._timed(plan.budget_seconds))
        asked = self._read(self._rules.default_budget if ask.budget is None else ask.budget)
        if ask.mode == "hard":
            terms = self._hard(asked)
            return terms if ask.deadline_seconds is None else _due(terms, received_at, ask.deadline_seconds)
        if ask.deadline_seconds is not None:
            return _due(self._corrected(asked), received_at, ask.deadline_seconds)
        if self._brownout is None or ask.explain:
            return self._corrected(asked)
        share = self._brownout.share(ask.priority or "normal")
        if share == 1:
            return self._corrected(asked)
        cheapest = (self._time if asked.in_time else self._flops).costs[0]
        lowered = max(share * asked.cost, float(cheapest))
        if lowered >= asked.cost:
            return self._corrected(asked)
        terms = self._corrected(_Asked(lowered, asked.in_time))
        return replace(terms, budget_share=lowered / asked.cost)

    def _corrected(self, asked: _Asked) -> Constraints:
        """What a budget is served under, as the closed loop corrects it."""
        if asked.in_time:
            return self._average_time(asked.cost, self._time.planned(asked.cost))
        return self._average(asked.cost, self._flops.planned(asked.cost))

    def _hard(self, asked: _Asked) -> Constraints:
        if not asked.in_time:
            return Constraints(asked.cost, (), "hard")
        _ = self.time_group_path  # here, where a moment does no harm, and not in the thread that computes
        return Constraints(self._flops_of(asked.cost), (), "hard", time=self._timed(asked.cost / _NANO))

    def _parse(self, budget: Budget) -> _Asked:
        if not isinstance(budget, str):
            flops = min(affordable(float(budget), self._exit_flops), float(self._exit_flops[-1]))
            return _Asked(flops, in_time=False)
        if is_time(budget):
            costs = self._time.costs if self.exit_seconds else ()
            cost = _NANO * parse_seconds(budget, self.exit_seconds)
            return _Asked(min(max(cost, costs[0]), costs[-1]), in_time=True)
        return _Asked(parse_budget(budget, self._exit_flops), in_time=False)

    @cached_property
    def _time(self) -> CostPlans:
        loop = self._time_controller
        correct = None if loop is None else loop.effective
        return CostPlans(self._bundle, self.exit_nanoseconds, self._rules.policy, correct)

    def _timed(self, seconds: float, planned_seconds: float | None = None) -> TimeBudget:
        return TimeBudget(seconds, self.exit_seconds, planned_seconds)

    def _flops_of(self, cost_ns: float) -> float:
        """The FLOPs per image of a budget in time, on the images that its thresholds were fitted on."""
        return float(self._time.plan(cost_ns).shares @ np.asarray(self._exit_flops))

    def _expect(self, asked: _Asked) -> Plan:
        if not asked.in_time:
            return self._with_seconds(self._flops.judge(self._flops.plan(asked.cost)))
        judged = self._time.judge(self._time.plan(asked.cost))
        return replace(
            judged,
            budget_flops=self._flops_of(asked.cost),
            expected_flops=float(judged.shares @ np.asarray(self._exit_flops)),
            budget_seconds=asked.cost / _NANO,
            expected_seconds=judged.expected_flops / _NANO,
        )

    def _with_seconds(self, plan: Plan) -> Plan:
        """Say what a plan takes on this machine, where the stages were timed."""
        if not self.exit_seconds:
            return plan
        return replace(plan, expected_seconds=float(plan.shares @ np.asarray(self.exit_seconds)))

    def _guaranteed(self, max_drop: float, budget: Budget | None) -> Guaranteed:
        check(ClassifyOptions(budget=budget, max_drop=max_drop))
        cap = None if budget is None else self._read(budget)
        if cap is None or not cap.in_time:
            return self._guarantee(max_drop, None if cap is None else cap.cost)
        found = self._guarantee(max_drop, None)
        seconds, allowed = float(found.plan.shares @ np.asarray(self.exit_seconds)), cap.cost / _NANO
        if seconds > allowed:
            raise BudgetError(
                f"max_drop={max_drop:g} takes {format_seconds(seconds)} per image on this machine, over the "
                f"budget of {format_seconds(allowed)}: allow a larger drop or a larger budget"
            )
        return replace(found, plan=replace(found.plan, budget_seconds=allowed))

    def _plan_average(self, budget_flops: float, planned_flops: float) -> Constraints:
        return _terms(budget_flops, self._flops.plan(planned_flops), "average")

    def _plan_time(self, cost_ns: float, planned_ns: float) -> Constraints:
        terms = _terms(self._flops_of(cost_ns), self._time.plan(planned_ns), "average")
        time = self._timed(cost_ns / _NANO, planned_ns / _NANO)
        return replace(terms, planned_flops=None, time=time)

    @cached_property
    def _certifier(self) -> Certifier:
        calibration = self._bundle.calibration
        kept = calibration.certify
        score = calibration.score(self._bundle.manifest.calibration.confidence)
        return Certifier(self._flops.policy, score[kept], calibration.correct[kept])

    def _certify(self, max_drop: float, cap_flops: float | None) -> Guaranteed:
        return self._certifier.plan(max_drop, self._rules.delta, cap_flops)


def nanoseconds(seconds: Sequence[float]) -> tuple[int, ...]:
    """Times as whole nanoseconds, which can be added up and compared without rounding."""
    return tuple(round(_NANO * time) for time in seconds)


def _terms(budget_flops: float, plan: Plan, kind: BudgetKind) -> Constraints:
    """Terms under which the thresholds of a plan decide."""
    thresholds = tuple(plan.thresholds.tolist())
    return Constraints(
        budget_flops, thresholds, kind, next_exits=next_exits(thresholds), planned_flops=plan.budget_flops
    )


def _due(terms: Constraints, received_at: float, deadline_seconds: float) -> Constraints:
    """Give terms a deadline; the answer is taken a moment before it, the time it takes to hand it over."""
    kind: BudgetKind = "hard" if terms.kind == "hard" else "deadline"
    answer_at = received_at + answer_seconds(deadline_seconds)
    return replace(terms, kind=kind, answer_at=answer_at, deadline_at=received_at + deadline_seconds)
