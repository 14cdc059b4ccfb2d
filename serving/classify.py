"""`offramp classify SOURCE --bundle B --out answers.parquet`: classify a finite set of images."""

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import CliPositionalArg

from serving import command_line
from serving.errors import OfframpError
from serving.system.resources import MOST_THREADS

if TYPE_CHECKING:
    from serving.bulk.job import Job, Report


class Arguments(BaseModel):
    """Classify the images of a folder, of parquet files or of tar archives into one parquet file."""

    source: CliPositionalArg[str] = Field(
        min_length=1,
        max_length=4096,
        description="a folder of images, of parquet files or of tar archives; one such file; or OWNER/NAME "
        "of a data set in the local cache of the Hub",
    )
    bundle: Path = Field(description="the bundle's folder")
    out: Path = Field(description="the file to write, NAME.parquet")
    budget: str | None = Field(
        None, description="what an image may cost on average, such as 50% or 150MFLOPs; 100% if not given"
    )
    budget_total: str | None = Field(
        None, description="what all images together may cost, such as 50% or 3TFLOPs: never exceeded"
    )
    max_drop: float | None = Field(
        None, gt=0, lt=1, description="a guarantee: the share of answers that leaving early may lose"
    )
    files: str | None = Field(
        None, min_length=1, description="which files of a folder: a pattern, such as test-*"
    )
    column: str | None = Field(None, description="the column of the images in parquet files")
    probabilities: bool = Field(False, description="write the probabilities of all classes, too")
    resume: bool = Field(False, description="go on with a job that was interrupted")
    force: bool = Field(False, description="replace an output that exists")
    max_pixels: int = Field(
        25_000_000, gt=0, le=80_000_000, description="the most pixels (width x height) of one image"
    )
    threads: int = Field(0, ge=0, le=MOST_THREADS, description="threads that compute; one for each core if 0")
    decode_threads: int = Field(2, gt=0, le=MOST_THREADS, description="threads that decode images")
    as_json: bool = Field(False, alias="json", description="print the summary as JSON")

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.budget_total is not None and (self.budget is not None or self.max_drop is not None):
            raise ValueError("--budget-total goes with neither --budget nor --max-drop: give one of them")
        if self.resume and self.force:
            raise ValueError("--resume and --force contradict each other: give one of them")
        return self


def main(argv: Sequence[str] | None = None) -> int:
    """Classify, and print a summary; the exit status is 1 where not one image could be answered."""
    return command_line.run(lambda: _classify(command_line.read(Arguments, "classify", argv)))


def _classify(arguments: Arguments) -> int:
    if find_spec("pyarrow") is None:
        raise OfframpError("classify needs pyarrow: pip install 'offramp[bulk]'")
    from serving.bulk.job import run
    from serving.bulk.progress import Progress

    job = _job(arguments)
    progress = Progress(len(job.source), sys.stderr)
    try:
        report = run(job, resume=arguments.resume, force=arguments.force, tell=progress.tell)
    finally:
        progress.end()
    if report.complete_before:
        sys.stderr.write(f"{arguments.out} is complete already\n")
        return 0
    facts = _summary(job, report)
    sys.stdout.write(json.dumps(facts) + "\n" if arguments.as_json else _lines(job, facts))
    return 1 if report.tally.errors == report.tally.rows else 0


def _job(arguments: Arguments) -> "Job":
    """Check all arguments, before anything is computed or written."""
    from serving.bulk.classifier import BulkClassifier
    from serving.bulk.decoding import Limits
    from serving.bulk.items import SourceError
    from serving.bulk.job import Job, total_flops
    from serving.bulk.opening import open_source
    from serving.bulk.parts import check_output
    from serving.bundle import read_bundle
    from serving.monitoring.state import bundle_hash
    from serving.options import ClassifyOptions
    from serving.policy.budget import is_time

    if arguments.budget is not None and is_time(arguments.budget):
        raise OfframpError(
            f"--budget {arguments.budget} is a time, which is measured anew at every start: a job that goes "
            "on would answer otherwise. Give FLOPs or a share, such as those that a server's "
            f"GET /models/NAME/plan?budget={arguments.budget} names"
        )
    check_output(arguments.out)
    bundle = read_bundle(arguments.bundle)
    source = open_source(arguments.source, files=arguments.files, column=arguments.column)
    if not len(source):
        raise SourceError(f"{arguments.source}: there are no images in it")
    total = None
    if arguments.budget_total is not None:
        total = total_flops(arguments.budget_total, len(source), bundle.manifest.exit_flops)
    ask = ClassifyOptions(budget=arguments.budget, max_drop=arguments.max_drop)
    return Job(
        source=source,
        classifier=BulkClassifier.load(bundle, ask, threads=arguments.threads),
        out=arguments.out.absolute(),
        facts={
            "bundle": bundle.name,
            "manifest": bundle_hash(bundle.manifest),
            "budget": arguments.budget,
            "max_drop": arguments.max_drop,
        },
        limits=Limits(arguments.max_pixels, arguments.decode_threads),
        total_flops=total,
        probabilities=arguments.probabilities,
    )


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
