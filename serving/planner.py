"""Turns what a request asks for into the terms that it is served under."""

from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from serving.bundle import Bundle
from serving.bundle.served_policy import Judge, expectation, served_policy
from serving.events import BudgetKind
from serving.monitoring.brownout import BrownOut
from serving.monitoring.controller import BudgetController
from serving.options import Budget, ClassifyOptions, ServingConfig, check
from serving.policy.budget import affordable, parse_budget
from serving.policy.group_path import GroupPath
from serving.policy.guarantee import Certifier, Guaranteed
from serving.policy.plan import Plan
from serving.scheduler.deadlines import answer_seconds
from serving.scheduler.head_skipping import next_exits
from serving.scheduler.request import Constraints

_KEPT = 1024


class Planner:
    """The policy, the guarantee and the closed loop of one model, and what they make of a request.

    Args:
        bundle: what is served.
        rules: the defaults.
        controller: corrects budgets; None leaves them as they are.
        brownout: lowers budgets while too much waits; None never does.

    Raises:
        BudgetError, TermsError, BundleError: a default cannot be used, or there is no such policy.
    """

    def __init__(
        self,
        bundle: Bundle,
        rules: ServingConfig,
        controller: BudgetController | None,
        brownout: BrownOut | None = None,
    ) -> None:
        self._bundle = bundle
        self._rules = rules
        self._exit_flops = bundle.manifest.exit_flops
        self._controller = controller
        self._brownout: BrownOut | None = None  # nobody waits while the defaults are tried
        self._policy = served_policy(bundle.manifest, bundle.calibration, rules.policy)
        self._read = lru_cache(maxsize=_KEPT, typed=True)(self._parse)
        self._plan = lru_cache(maxsize=_KEPT)(self._policy.plan)
        self._average = lru_cache(maxsize=_KEPT)(self._plan_average)
        self._guarantee = lru_cache(maxsize=_KEPT)(self._certify)
        self._expected = lru_cache(maxsize=_KEPT)(self._expect)
        self.terms(ClassifyOptions(budget=rules.default_budget), 0.0)
        self.terms(ClassifyOptions(), 0.0)
        self._brownout = brownout

    @property
    def table(self) -> npt.NDArray[np.float64]:
        """The policy's path, threshold vectors [R, K] that never fall."""
        return self._policy.table

    def group_path(self) -> GroupPath:
        """Return what shares out hard budgets, along the policy's own path."""
        calibration, manifest = self._bundle.calibration, self._bundle.manifest
        score = calibration.score(manifest.calibration.confidence)[calibration.fit]
        return GroupPath(self._policy.table, score, self._exit_flops)

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
        return replace(found, plan=self._judge(found.plan))

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
            return _terms(plan.budget_flops, plan, "guarantee")
        budget_flops = self._read(self._rules.default_budget if ask.budget is None else ask.budget)
        if ask.mode == "hard":
            terms = Constraints(budget_flops, (), "hard")
            return terms if ask.deadline_seconds is None else _due(terms, received_at, ask.deadline_seconds)
        if ask.deadline_seconds is not None:
            return _due(self._corrected(budget_flops), received_at, ask.deadline_seconds)
        if self._brownout is None or ask.explain:
            return self._corrected(budget_flops)
        share = self._brownout.share(ask.priority or "normal")
        if share == 1:
            return self._corrected(budget_flops)
        lowered = max(share * budget_flops, float(self._exit_flops[0]))
        if lowered >= budget_flops:
            return self._corrected(budget_flops)
        return replace(self._corrected(lowered), budget_share=lowered / budget_flops)

    def _corrected(self, budget_flops: float) -> Constraints:
        """What a budget is served under, as the closed loop corrects it."""
        planned = budget_flops if self._controller is None else self._controller.effective(budget_flops)
        return self._average(budget_flops, planned)

    def _parse(self, budget: Budget) -> float:
        if isinstance(budget, str):
            return parse_budget(budget, self._exit_flops)
        return min(affordable(float(budget), self._exit_flops), float(self._exit_flops[-1]))

    def _expect(self, budget_flops: float) -> Plan:
        return self._judge(self._plan(budget_flops))

    @cached_property
    def _judge(self) -> Judge:
        return expectation(self._bundle.manifest, self._bundle.calibration, self._rules.policy)

    def _guaranteed(self, max_drop: float, budget: Budget | None) -> Guaranteed:
        check(ClassifyOptions(budget=budget, max_drop=max_drop))
        return self._guarantee(max_drop, None if budget is None else self._read(budget))

    def _plan_average(self, budget_flops: float, planned_flops: float) -> Constraints:
        return _terms(budget_flops, self._plan(planned_flops), "average")

    @cached_property
    def _certifier(self) -> Certifier:
        calibration = self._bundle.calibration
        kept = calibration.certify
        score = calibration.score(self._bundle.manifest.calibration.confidence)
        return Certifier(self._policy, score[kept], calibration.correct[kept])

    def _certify(self, max_drop: float, cap_flops: float | None) -> Guaranteed:
        return self._certifier.plan(max_drop, self._rules.delta, cap_flops)


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
