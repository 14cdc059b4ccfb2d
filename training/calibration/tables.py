"""Effects of a new calibration: accuracy per exit, and spending under old and new thresholds."""

from rich.console import Console
from rich.table import Table

from serving.bundle import Bundle
from serving.bundle.served_policy import served_policy
from serving.policy.plan import Plan, evaluate_thresholds

SHOWN_BUDGETS = (0.25, 0.5, 0.75)
"""Budgets of the comparison, on the way from the cheapest exit to full depth."""


def compare(old: Bundle, new: Bundle) -> list[tuple[Plan, Plan]]:
    """Return what the old thresholds and the new ones do at a few budgets.

    Both are judged on the half of the new images that no threshold was fitted on; on all where none is kept.
    """
    kept, costs = new.calibration.certify, new.manifest.exit_flops
    held_out = kept if kept.any() else ~kept
    measure = new.manifest.calibration.confidence
    score = new.calibration.score(measure)[held_out]
    correct = new.calibration.correct[held_out]
    plans = []
    for share in SHOWN_BUDGETS:
        budget_flops = costs[0] + share * (costs[-1] - costs[0])
        before, after = (
            served_policy(bundle.manifest, bundle.calibration).plan(budget_flops) for bundle in (old, new)
        )
        plans.append(
            (
                evaluate_thresholds(score, correct, costs, before.thresholds, budget_flops),
                evaluate_thresholds(score, correct, costs, after.thresholds, budget_flops),
            )
        )
    return plans


def show(old: Bundle, new: Bundle, console: Console) -> None:
    """Print the accuracy of each exit, and what a few budgets spend and get right, before and after."""
    exits = Table("exit", "accuracy before %", "accuracy now %", title=f"{new.name}: every image at one exit")
    for number, (before, now) in enumerate(
        zip(old.manifest.segments, new.manifest.segments, strict=True), start=1
    ):
        exits.add_row(
            str(number), f"{100 * before.validation_accuracy:.2f}", f"{100 * now.validation_accuracy:.2f}"
        )
    console.print(exits)
    table = Table(
        *("budget", "old spends", "new spends", "old accuracy %", "new accuracy % (95%)"),
        title="old and new thresholds on the images set aside, MFLOPs",
    )
    for before_plan, after_plan in compare(old, new):
        table.add_row(
            *(
                f"{flops / 1e6:.2f}"
                for flops in (before_plan.budget_flops, before_plan.expected_flops, after_plan.expected_flops)
            ),
            f"{100 * before_plan.expected_accuracy:.2f}",
            "{:.2f} ({:.1f} to {:.1f})".format(
                *(100 * x for x in (after_plan.expected_accuracy, *after_plan.expected_accuracy_interval))
            ),
        )
    console.print(table)
