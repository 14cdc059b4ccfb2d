"""Puts together what the monitors of several processes know of one model.

Each process closes its own loop over its own requests: none waits for another, and each keeps the mean of
its own images, so that the mean of all is kept, too. Here they are put together to be shown, or kept on disk.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from serving.events import AgreementMeasured, BudgetCorrected, DriftMeasured
from serving.monitoring.health import Health
from serving.monitoring.shadow import Agreement

State = dict[str, dict[str, float]]
"""What a closed loop has learned, by budget class (see `BudgetController.state`)."""

Measured = TypeVar("Measured", DriftMeasured, AgreementMeasured)


def merged_states(states: Sequence[State]) -> State:
    """Return one state to go on from in place of several.

    Of each class the state of the process that has seen most images, with the mean of all corrections,
    weighted by images.

    >>> one, two = {"log_factor": 0.1, "images": 30.0}, {"log_factor": 0.3, "images": 10.0}
    >>> merged_states([{"3": one}, {"3": two}])
    {'3': {'log_factor': 0.15, 'images': 30.0}}
    """
    classes: dict[str, list[dict[str, float]]] = {}
    for state in states:
        for label, values in state.items():
            classes.setdefault(label, []).append(values)
    merged = {}
    for label, found in classes.items():
        images = sum(values["images"] for values in found)
        factor = sum(values["log_factor"] * values["images"] for values in found) / images
        most = max(found, key=lambda values: values["images"])
        merged[label] = {**most, "log_factor": factor}
    return merged


def merged_health(healths: Sequence[Health]) -> Health:
    """Return how a model does in all processes: alive in each, and of every alarm the worst.

    Corrections are means; images that were watched are summed.
    """
    exits = {index for health in healths for index in health.agreement}
    corrections: dict[str, list[BudgetCorrected]] = {}
    for health in healths:
        for label, found in (health.corrections or {}).items():
            corrections.setdefault(label, []).append(found)
    on = any(health.corrections is not None for health in healths)
    return Health(
        alive=all(health.alive for health in healths),
        corrections={label: _mean(found) for label, found in corrections.items()} if on else None,
        drift=_worst([health.drift for health in healths]),
        agreement={index: _agreement(healths, index) for index in sorted(exits)},
        unchecked=sum(health.unchecked for health in healths),
        agreement_of_late=_worst([health.agreement_of_late for health in healths]),
    )


def _mean(found: Sequence[BudgetCorrected]) -> BudgetCorrected:
    first = found[0]
    return BudgetCorrected(
        first.model,
        first.budget_class,
        sum(each.factor for each in found) / len(found),
        sum(each.error for each in found) / len(found),
    )


def _agreement(healths: Sequence[Health], index: int) -> Agreement:
    found = [health.agreement[index] for health in healths if index in health.agreement]
    return Agreement(sum(each.watched for each in found), sum(each.agreed for each in found))


def _worst(measured: Sequence[Mapping[int, Measured]]) -> dict[int, Measured]:
    """Of each exit the measurement that is nearest to an alarm, or furthest beyond."""
    exits = {index for each in measured for index in each}
    return {
        index: max((each[index] for each in measured if index in each), key=_badness)
        for index in sorted(exits)
    }


def _badness(measured: Measured) -> tuple[bool, float]:
    if isinstance(measured, DriftMeasured):
        return measured.alarm, measured.score - measured.limit
    return measured.alarm, measured.expected - measured.share
