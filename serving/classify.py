"""`offramp classify SOURCE --bundle B --out answers.parquet`: classify a finite set of images."""

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from serving import command_line
from serving.bulk.arguments import BulkArguments, job_of
from serving.errors import OfframpError

if TYPE_CHECKING:
    from serving.bulk.job import Job, Report


class Arguments(BulkArguments):
    """Classify the images of a folder, of parquet files or of tar archives into one parquet file."""

    resume: bool = Field(False, description="go on with a job that was interrupted")
    force: bool = Field(False, description="replace an output that exists")
    ray: bool = Field(False, description="share the work among the workers of a Ray cluster")
    ray_address: str | None = Field(
        None, min_length=1, max_length=1024, description="the cluster; one on this machine if not given"
    )
    ray_workers: int = Field(
        0, ge=0, le=10_000, description="workers, of --threads cores each; as many as there is room for if 0"
    )
    as_json: bool = Field(False, alias="json", description="print the summary as JSON")

    @model_validator(mode="after")
    def _do_not_contradict(self) -> Self:
        if self.resume and self.force:
            raise ValueError("--resume and --force contradict each other: give one of them")
        if not self.ray and (self.ray_address is not None or self.ray_workers):
            raise ValueError("--ray-address and --ray-workers go with --ray: give it, too")
        return self


def main(argv: Sequence[str] | None = None) -> int:
    """Classify, and print a summary; the exit status is 1 where not one image could be answered."""
    return command_line.run(lambda: _classify(command_line.read(Arguments, "classify", argv)))


def _classify(arguments: Arguments) -> int:
    if find_spec("pyarrow") is None:
        raise OfframpError("classify needs pyarrow: pip install 'offramp[bulk]'")
    from serving.bulk.job import run
    from serving.bulk.parts import check_output
    from serving.bulk.progress import Progress

    check_output(arguments.out)
    job, produce = job_of(arguments), None
    if arguments.ray:
        from serving.distributed.classifying import spread

        job, produce = spread(job, arguments, arguments.ray_address, arguments.ray_workers)
    progress = Progress(len(job.source), sys.stderr)
    try:
        report = run(job, resume=arguments.resume, force=arguments.force, tell=progress.tell, produce=produce)
    finally:
        progress.end()
    if report.complete_before:
        sys.stderr.write(f"{arguments.out} is complete already\n")
        return 0
    facts = _summary(job, report)
    sys.stdout.write(json.dumps(facts) + "\n" if arguments.as_json else _lines(job, facts))
    return 1 if report.tally.errors == report.tally.rows else 0


def _summary(job: "Job", report: "Report") -> dict[str, Any]:
    tally, this_run = report.tally, report.tally.rows - report.resumed_rows
    answered = tally.rows - tally.errors
    return {
        **tally.facts(),
        "mean_flops": tally.flops / answered if answered else None,
        "budget_flops": None if job.total_flops is not None else job.classifier.terms.budget_flops,
        "total_flops": job.total_flops,
        "passed_over_files": job.source.passed_over,
        "resumed_rows": report.resumed_rows,
        "seconds": round(report.seconds, 3),
        "processor_seconds": round(report.processor_seconds, 3),
        "images_per_second": round(this_run / report.seconds, 1) if report.seconds else None,
    }


def _lines(job: "Job", facts: dict[str, Any]) -> str:
    from serving.policy.budget import format_flops

    lines = [f"rows     {facts['rows']:,}, of them {facts['errors']:,} with an error"]
    if facts["passed_over_files"]:
        lines.append(
            f"files    {facts['passed_over_files']:,} are no images by their names, and were passed over"
        )
    exits = ", ".join(f"{number}: {count:,}" for number, count in facts["exits"].items())
    lines.append(f"exits    {exits or 'none'}")
    if facts["mean_flops"] is not None:
        share = facts["mean_flops"] / job.classifier.manifest.exit_flops[-1]
        lines.append(f"cost     {format_flops(facts['mean_flops'])} per image, {share:.1%} of the full depth")
    if facts["total_flops"] is None:
        lines.append(f"budget   {format_flops(facts['budget_flops'])} per image")
    else:
        spent = facts["flops"] / facts["total_flops"]
        lines.append(f"budget   {format_flops(facts['total_flops'])} in total, {spent:.3%} of it spent")
    resumed = f" ({facts['resumed_rows']:,} rows were there before)" if facts["resumed_rows"] else ""
    rate = facts["images_per_second"] or 0.0
    lines.append(
        f"time     {facts['seconds']:.1f} s, {facts['processor_seconds']:.1f} s of processor time, "
        f"{rate:,.0f} images/s{resumed}"
    )
    return "\n".join([*lines, str(job.out)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
