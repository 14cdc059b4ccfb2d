"""A whole job: from a source to one file of answers, resumable by shard."""

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serving.bulk.answers import Tally, schema, table
from serving.bulk.classifier import SHARD_ROWS, Answers, BulkClassifier
from serving.bulk.decoding import Limits, Shard, shards
from serving.bulk.items import Source, SourceError
from serving.bulk.ledger import Ledger, Pace, share
from serving.bulk.parts import Parts
from serving.errors import BudgetError
from serving.policy.budget import parse_budget


@dataclass(frozen=True)
class Job:
    """What to do.

    Attributes:
        source: the images.
        classifier: classifies them.
        out: the output.
        facts: what the answers depend on besides the source and the total, as plain values.
        total_flops: what all images together may cost; None where each stands for itself.
        probabilities: whether the output has those of all classes.
        limits: of decoding.
        shard_rows: the most images of a shard.
    """

    source: Source
    classifier: BulkClassifier
    out: Path
    facts: Mapping[str, Any]
    limits: Limits
    total_flops: int | None = None
    probabilities: bool = False
    shard_rows: int = SHARD_ROWS

    def identity(self) -> dict[str, Any]:
        """What must be the same for a job to go on, as plain values."""
        listing = hashlib.sha256("\n".join(self.source.listing).encode(errors="replace")).hexdigest()
        return {
            **self.facts,
            "source": listing,
            "images": len(self.source),
            "total_flops": self.total_flops,
            "probabilities": self.probabilities,
            "max_pixels": self.limits.max_pixels,
            "shard_rows": self.shard_rows,
        }


@dataclass
class Report:
    """How a job went.

    Attributes:
        tally: of all rows, of those before a resumption, too.
        resumed_rows: those that were there before.
        seconds: of this run.
        processor_seconds: of this run, all threads together.
        complete_before: whether there was nothing left to do.
    """

    tally: Tally = field(default_factory=Tally)
    resumed_rows: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    complete_before: bool = False


def total_flops(text: str, images: int, exit_flops: tuple[int, ...]) -> int:
    """Read a budget for a whole job: FLOPs, or a share of the full depth of all its images.

    Raises:
        BudgetError: no budget, or less than the cheapest exit costs for all images.

    >>> total_flops("50%", images=10, exit_flops=(100, 400))
    2000
    """
    try:
        return int(parse_budget(text, [images * flops for flops in exit_flops]))
    except BudgetError as error:
        raise BudgetError(f"--budget-total for {images:,} images: {error}") from error


def run(
    job: Job,
    *,
    resume: bool = False,
    force: bool = False,
    tell: Callable[[Tally], None] = lambda tally: None,
) -> Report:
    """Do a job, or what is left of it.

    Args:
        job: what to do.
        resume: go on with what is there, if it is of the same job.
        force: replace what is there.
        tell: told of all rows that are done, at first and after each shard.

    Raises:
        OutputError: something is in the way of the output.
        SourceError: the source cannot be read on, or changed meanwhile.
        OSError: the output cannot be written.
    """
    started, started_processor = time.monotonic(), time.process_time()
    report = Report()
    parts = Parts(job.out, job.identity())
    with parts.opened(resume=resume, force=force) as complete:
        if complete:
            report.complete_before = True
            return report
        finished = parts.finished()
        for tally in finished:
            report.tally.add(tally)
        report.resumed_rows = report.tally.rows
        tell(report.tally)
        pace = None if job.total_flops is None else job.classifier.pace()
        count = len(finished)
        with closing(_shards(job, report.tally.rows)) as coming:
            for shard in coming:
                answers = _answers(job, pace, shard, report.tally.flops)
                rows, tally = table(
                    shard.start,
                    shard.paths,
                    shard.errors,
                    answers,
                    classes=job.classifier.manifest.classes,
                    exit_flops=job.classifier.manifest.exit_flops,
                    probabilities=job.probabilities,
                )
                parts.add(count, rows, tally)
                count += 1
                report.tally.add(tally)
                tell(report.tally)
        if report.tally.rows != len(job.source):
            raise SourceError(
                f"the source changed: expected {len(job.source):,} images, found {report.tally.rows:,}"
            )
        columns = schema(len(job.classifier.manifest.classes), probabilities=job.probabilities)
        parts.join(count, columns, report.tally.facts())
    report.seconds = time.monotonic() - started
    report.processor_seconds = time.process_time() - started_processor
    return report


def _shards(job: Job, start: int) -> Any:
    preprocessing = job.classifier.manifest.preprocessing
    return shards(job.source, start, job.shard_rows, preprocessing, job.limits)


def _answers(job: Job, pace: Pace | None, shard: Shard, spent_flops: int) -> Answers | None:
    """Classify a shard, within its share of the total if there is one; None if no image was decoded."""
    if not shard.images:
        return None
    ledger = None
    if job.total_flops is not None and pace is not None:
        end = shard.start + len(shard.paths)
        may_cost = share(job.total_flops, len(job.source), end, spent_flops)
        ledger = Ledger(pace, len(shard.images), may_cost)
    return job.classifier.classify(np.stack(shard.images), ledger)
