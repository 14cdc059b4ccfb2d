"""A whole job: from a source to one file of answers, resumable by shard."""

import hashlib
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serving.bulk.answers import Kept, Tally, schema, table
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

    @property
    def schema(self) -> Any:
        """The Arrow schema of the output.

        Raises:
            SourceError: a column that is kept has the name of another.
        """
        classes = len(self.classifier.manifest.classes)
        return schema(classes, probabilities=self.probabilities, kept=self.source.kept_fields)

    def pace(self) -> Pace | None:
        """Return what ledgers go by; None without a total."""
        return None if self.total_flops is None else self.classifier.pace()

    def identity(self) -> dict[str, Any]:
        """What must be the same for a job to go on, as plain values."""
        listing = hashlib.sha256("\n".join(self.source.listing).encode(errors="replace")).hexdigest()
        return {
            **self.facts,
            "source": listing,
            "images": len(self.source),
            "total_flops": self.total_flops,
            "probabilities": self.probabilities,
            "keep": [f"{kept.name}: {kept.type}" for kept in self.source.kept_fields],
            "max_pixels": self.limits.max_pixels,
            "shard_rows": self.shard_rows,
        }


Produce = Callable[[Job, Tally], Generator[tuple[Any, Tally], None, None]]
"""A job and what is done of it -> the rows of each shard that is left, in order, and what they add up to."""


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
    produce: Produce | None = None,
) -> Report:
    """Do a job, or what is left of it.

    Args:
        job: what to do.
        resume: go on with what is there, if it is of the same job.
        force: replace what is there.
        tell: told of all rows that are done, at first and after each shard.
        produce: classifies the shards that are left, in order; `one_by_one` if None.

    Raises:
        OutputError: something is in the way of the output.
        SourceError: the source cannot be read on, or changed meanwhile.
        OSError: the output cannot be written.
    """
    produce = produce or one_by_one
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
        count = len(finished)
        with closing(produce(job, report.tally)) as coming:
            for rows, tally in coming:
                parts.add(count, rows, tally)
                count += 1
                report.tally.add(tally)
                tell(report.tally)
        if report.tally.rows != len(job.source):
            raise SourceError(
                f"the source changed: expected {len(job.source):,} images, found {report.tally.rows:,}"
            )
        parts.join(count, job.schema, report.tally.facts())
    report.seconds = time.monotonic() - started
    report.processor_seconds = time.process_time() - started_processor
    return report


def one_by_one(job: Job, done: Tally) -> Generator[tuple[Any, Tally], None, None]:
    """Classify the shards that are left, each with what those before it left over of a total.

    Args:
        job: what to do.
        done: what the shards before add up to.

    Yields:
        the rows of a shard as an Arrow table, and what they add up to.
    """
    pace, spent_flops = job.pace(), done.flops
    preprocessing = job.classifier.manifest.preprocessing
    with closing(shards(job.source, done.rows, job.shard_rows, preprocessing, job.limits)) as coming:
        for shard in coming:
            rows, tally = _classified(job, pace, shard, spent_flops)
            spent_flops += tally.flops
            yield rows, tally


def one_alone(job: Job, pace: Pace | None, number: int) -> tuple[Any, Tally]:
    """Classify one shard by itself, with its own share of a total and nothing of others.

    Args:
        job: what to do.
        pace: of `job.pace`.
        number: of the shard, from 0.

    Returns:
        its rows as an Arrow table, and what they add up to.
    """
    start = number * job.shard_rows
    stop = min(start + job.shard_rows, len(job.source))
    preprocessing = job.classifier.manifest.preprocessing
    before = 0 if job.total_flops is None else share(job.total_flops, len(job.source), start, 0)
    with closing(shards(job.source, start, job.shard_rows, preprocessing, job.limits, stop)) as coming:
        return _classified(job, pace, next(coming), before)


def _classified(job: Job, pace: Pace | None, shard: Shard, spent_flops: int) -> tuple[Any, Tally]:
    manifest = job.classifier.manifest
    return table(
        shard.start,
        shard.paths,
        shard.errors,
        _answers(job, pace, shard, spent_flops),
        classes=manifest.classes,
        exit_flops=manifest.exit_flops,
        probabilities=job.probabilities,
        kept=Kept(job.source.kept_fields, shard.kept),
    )


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
