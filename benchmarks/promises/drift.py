"""The effect of drift on budgets, with the loop open and closed, and the delay of the alarm.

    python -m benchmarks.promises.drift BUNDLE --out docs/benchmarks/drift

The bundle's engine answers the test images as they are and changed: Gaussian noise, Gaussian blur and loss of
contrast, each at three severities; classes that become rare need no run. Streams are drawn from these
answers: some thousand plain images, then changed ones, in batches; thresholds are looked up before a batch,
and the controller gets the costs after it. Reported are, over the seeds: the open loop's error on the
changed images; with the loop closed, the error of the thresholds in force on all changed images 2,000 images
after the change, and of the realised mean over 10,000; how many streams raised the alarm, and after how many
images. Streams of 100,000 images without a change, at several budgets and at a mixture of them, count alarms
that should not be there.

Writes `OUT.json` and `OUT.md`. The exit status is 1 where a promise is not kept: the mean of the errors in
force, or the worst seed's realised error, over 2%; a quiet alarm; or a change that moves the cost by 2% or
more without raising the alarm in at least 9 of 10 streams.
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.promises.drift_images import make_pools
from benchmarks.promises.drift_streams import ALLOWED_ERROR, BEFORE, LONG, SOON, measured
from benchmarks.reporting import command_line, opened, publish, table
from serving.bundle import read_bundle

RAISED = 0.9


def broken(lines: list[dict[str, Any]], silence: list[dict[str, Any]]) -> Iterator[str]:
    """Name every promise that was not kept."""
    for line in lines:
        at = f"{line['change']} at {line['budget']:.0%}"
        if abs(line["in_force_mean_error"]) > ALLOWED_ERROR:
            error = line["in_force_mean_error"]
            yield f"{at}: thresholds in force are {error:+.1%} off after {SOON:,} images"
        if line["realised_worst_error"] > ALLOWED_ERROR:
            yield f"{at}: a stream is {line['realised_worst_error']:.1%} off after {LONG:,} images"
        if abs(line["open_loop_error"]) >= ALLOWED_ERROR and line["alarm_raised"] < RAISED:
            yield f"{at}: the alarm is raised in {line['alarm_raised']:.0%} of the streams only"
        if line["alarms_before"]:
            yield f"{at}: {line['alarms_before']} alarms before the change"
    for line in silence:
        if line["alarms"]:
            yield f"{line['alarms']} alarms without a change, at {line['budgets']}"


def as_markdown(results: dict[str, Any]) -> str:
    """Return the results as a page."""
    changes = [
        [
            line["change"],
            f"{line['budget']:.0%}",
            f"{100 * line['open_loop_error']:+.1f}",
            f"{100 * line['in_force_mean_error']:+.1f}",
            f"{100 * line['in_force_mean_absolute_error']:.1f}",
            f"{line['in_force_share_within']:.0%}",
            f"{100 * line['realised_worst_error']:.1f}",
            f"{line['realised_share_within']:.0%}",
            f"{line['alarm_raised']:.0%}",
            "" if line["images_until_alarm"] is None else f"{line['images_until_alarm']:,}",
            line["raised_by"] or "",
        ]
        for line in results["changes"]
    ]
    head = [
        "change",
        "budget",
        "open loop %",
        "in force %",
        "in force, absolute %",
        "in force within 2%",
        "realised, worst %",
        "realised within 2%",
        "alarm raised",
        "images until then",
        "mostly by",
    ]
    quiet = [[line["budgets"], str(line["streams"]), str(line["alarms"])] for line in results["quiet"]]
    lines = [
        f"# The closed loop under drift: {results['bundle']}",
        "",
        f"Streams drawn from {results['images']:,} test images, {BEFORE:,} plain ones and then {LONG:,} "
        f"changed ones; {results['seeds']} seeds. Errors are of the mean cost against the budget. *In force*"
        ": the expected cost of the thresholds in force on all changed images, "
        f"{SOON:,} images after the change; its mean over the seeds, the mean of its absolute value, and the "
        f"share of seeds within 2%. *Realised*: the mean over {LONG:,} images after the change, of the worst "
        "seed, and the share of seeds within 2%. *Alarm*: the share of seeds that raised it, the median of "
        "the images that took, and the first sign of most; the monitor compares answers with "
        f"{results['calibration_images']:,} calibration images.",
        "",
        *table(head, changes),
        "",
        f"Without a change, in streams of {results['quiet_images']:,} images:",
        "",
        *table(["budgets", "streams", "alarms"], quiet),
        "",
        "Promises not kept: " + ("; ".join(results["broken"]) or "none") + ".",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark and write its results."""
    parser = command_line(__doc__)
    parser.add_argument("--limit", type=int, default=10_000, help="at most so many test images")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5], help="of the full depth")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--quiet-seeds", type=int, default=5)
    given = parser.parse_args()
    bundle = read_bundle(given.bundle)
    batches = list(opened(bundle, given.data).test())
    images = np.concatenate([batch.images.cpu().numpy() for batch in batches])[: given.limit]
    labels = np.concatenate([batch.labels.cpu().numpy() for batch in batches])[: given.limit]
    pools = make_pools(bundle, images, labels)
    results = measured(bundle, pools, given.budgets, given.seeds, given.quiet_seeds)
    results["broken"] = list(broken(results["changes"], results["quiet"]))
    publish(given.out, results, as_markdown(results))
    return 1 if results["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
