"""Turns what a request asks for into the terms that it is served under."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from serving.ask import Ask, check
from serving.budget import affordable, parse_budget
from serving.bundle import Bundle
from serving.controller import BudgetController
from serving.errors import DeadlineError
from serving.group_budget import GroupPath
from serving.guarantee import Certifier, Guaranteed
from serving.policies import served_policy
from serving.risk import DEFAULT_DELTA
from serving.rows import Kind, Terms
from serving.shortcuts import next_exits
from serving.thresholds import Plan

Budget = str | float

DEFAULT_BUDGET = "100%"
TOO_LATE = (
    "the deadline came before the images were received and decoded: allow more milliseconds, or send "
    "fewer or smaller images"
)

_KEPT = 1024
_LEAD_SECONDS = 0.005
_LEAD_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Rules:
    """How a model keeps its promises.

    Attributes:
        default_budget: of requests that name none.
        policy: turns budgets into thresholds; the bundle's own if None.
        max_drop: a guarantee for requests that ask for nothing else, in place of the default budget.
        delta: the chance, over the draw of the certifying images, that a guarantee does not hold.
        controller: whether what images cost corrects what thresholds are planned for.
        sample_share: of the images, whose early answers are checked in idle time, 0 to 1.
        sample_seed: of the draw.
        drift_window_rows: how many images at an exit make one measurement of drift.
    """

    default_budget: Budget = DEFAULT_BUDGET
    policy: str | None = None
    max_drop: float | None = None
    delta: float = DEFAULT_DELTA
    controller: bool = True
    sample_share: float = 0.0
    sample_seed: int = 0
    drift_window_rows: int = 2000


class Offers:
    """The policy, the guarantee and the closed loop of one model, and what they make of a request.

    Args:
        bundle: what is served.
        rules: the defaults.
        controller: corrects budgets; None leaves them as they are.

    Raises:
        BudgetError, TermsError, BundleError: a default cannot be used, or there is no such policy.
    """

    def __init__(self, bundle: Bundle, rules: Rules, controller: BudgetController | None) -> None:
        self._bundle = bundle
        self._rules = rules
        self._exit_flops = bundle.manifest.exit_flops
        self._controller = controller
        self._policy = served_policy(bundle.manifest, bundle.calibration, rules.policy)
        self._read = lru_cache(maxsize=_KEPT, typed=True)(self._parse)
        self._plan = lru_cache(maxsize=_KEPT)(self._policy.plan)
        self._average = lru_cache(maxsize=_KEPT)(self._plan_average)
        self._guarantee = lru_cache(maxsize=_KEPT)(self._certify)
        self.plan(None)
        self.terms(Ask(), 0.0)

    def group_path(self) -> GroupPath:
        """Return what shares out hard budgets, along the policy's own path."""
        calibration, manifest = self._bundle.calibration, self._bundle.manifest
        score = calibration.score(manifest.calibration.confidence)[calibration.fit]
        return GroupPath(self._policy.table, score, self._exit_flops)

    def plan(self, budget: Budget | None) -> Plan:
        """What a budget buys on the calibration rows; the default budget if None.

        Raises:
            BudgetError: no such budget, or none that buys an exit.
        """
        return self._plan(self._read(self._rules.default_budget if budget is None else budget))

    def guarantee(self, max_drop: float, budget: Budget | None = None) -> Guaranteed:
        """The cheapest thresholds proven to lose at most `max_drop`, and what that rests on.

        Args:
            max_drop: the share of answers that may be lost, in (0, 1).
            budget: a cap on what they may cost.

        Raises:
            BudgetError, TermsError: there are none.
        """
        check(Ask(budget=budget, max_drop=max_drop))
        return self._guarantee(max_drop, None if budget is None else self._read(budget))

    def terms(self, ask: Ask, received_at: float) -> Terms:
        """What a request is served under: thresholds as they stand now, a deadline by the clock.

        Args:
            ask: what it asks for.
            received_at: the clock's seconds from which its deadline counts.

        Raises:
            BudgetError, TermsError: what it asks for cannot be used.
        """
        check(ask, self._bundle.name)
        alone = ask.budget is None and ask.mode == "average" and ask.deadline_seconds is None
        max_drop = self._rules.max_drop if alone and ask.max_drop is None else ask.max_drop
        if max_drop is not None:
            plan = self.guarantee(max_drop, ask.budget).plan
            return _terms(plan.budget_flops, plan, "guarantee")
        budget_flops = self._read(self._rules.default_budget if ask.budget is None else ask.budget)
        if ask.mode == "hard":
            terms = Terms(budget_flops, (), "hard")
        else:
            planned = budget_flops if self._controller is None else self._controller.effective(budget_flops)
            terms = self._average(budget_flops, planned)
        return terms if ask.deadline_seconds is None else _due(terms, received_at, ask.deadline_seconds)

    def _parse(self, budget: Budget) -> float:
        if isinstance(budget, str):
            return parse_budget(budget, self._exit_flops)
        return min(affordable(float(budget), self._exit_flops), float(self._exit_flops[-1]))

    def _plan_average(self, budget_flops: float, planned_flops: float) -> Terms:
        return _terms(budget_flops, self._plan(planned_flops), "average")

    @cached_property
    def _certifier(self) -> Certifier:
        calibration = self._bundle.calibration
        kept = calibration.certify
        score = calibration.score(self._bundle.manifest.calibration.confidence)
        return Certifier(self._policy, score[kept], calibration.correct[kept])

    def _certify(self, max_drop: float, cap_flops: float | None) -> Guaranteed:
        return self._certifier.plan(max_drop, self._rules.delta, cap_flops)


def _terms(budget_flops: float, plan: Plan, kind: Kind) -> Terms:
    """Terms under which the thresholds of a plan decide."""
    thresholds = tuple(plan.thresholds.tolist())
    return Terms(
        budget_flops, thresholds, kind, next_exits=next_exits(thresholds), planned_flops=plan.budget_flops
    )


def _due(terms: Terms, received_at: float, deadline_seconds: float) -> Terms:
    """Give terms a deadline; the answer is taken a moment before it, the time it takes to hand it over."""
    kind: Kind = "hard" if terms.kind == "hard" else "deadline"
    answer_at = received_at + answer_seconds(deadline_seconds)
    return replace(terms, kind=kind, answer_at=answer_at, deadline_at=received_at + deadline_seconds)


def answer_seconds(deadline_seconds: float) -> float:
    """When the answer is taken: so many seconds after receipt, a moment before the deadline."""
    return deadline_seconds - min(_LEAD_SECONDS, _LEAD_SHARE * deadline_seconds)


def refuse_if_late(terms: Terms, now: float) -> None:
    """Turn a request away whose deadline came before it could be admitted.

    Raises:
        DeadlineError: so it did.
    """
    if now >= terms.answer_at:
        raise DeadlineError(TOO_LATE)
