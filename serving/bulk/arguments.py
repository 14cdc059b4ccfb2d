"""The arguments of a job, and the job that they stand for, here or in a worker elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ByteSize, Field, field_validator, model_validator
from pydantic_settings import CliPositionalArg, NoDecode

from serving.errors import OfframpError
from serving.hub.download import MAX_BYTES
from serving.system.resources import MOST_THREADS, resources

if TYPE_CHECKING:
    from serving.bulk.job import Job


class BulkArguments(BaseModel):
    """A job of bulk classification, as plain values."""

    source: CliPositionalArg[str] = Field(
        min_length=1,
        max_length=4096,
        description="a folder of images, of parquet files or of tar archives; one such file; or OWNER/NAME "
        "of a data set on the Hugging Face Hub",
    )
    bundle: str = Field(
        min_length=1, max_length=4096, description="the bundle's folder, or hf://OWNER/NAME[@REVISION]"
    )
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
    keep: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None,
        description="columns of parquet files, by commas, that are carried to the output, such as id,label",
    )
    probabilities: bool = Field(False, description="write the probabilities of all classes, too")
    max_download: ByteSize = Field(
        ByteSize(MAX_BYTES), gt=0, le=2**50, description="the most bytes of a data set or bundle from the Hub"
    )
    max_pixels: int = Field(
        25_000_000, gt=0, le=80_000_000, description="the most pixels (width x height) of one image"
    )
    threads: int = Field(0, ge=0, le=MOST_THREADS, description="threads that compute; one for each core if 0")
    decode_threads: int = Field(
        0, ge=0, le=MOST_THREADS, description="threads that decode images; as many as compute if 0"
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _by_commas(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.budget_total is not None and (self.budget is not None or self.max_drop is not None):
            raise ValueError("--budget-total goes with neither --budget nor --max-drop: give one of them")
        return self


def job_of(arguments: BulkArguments) -> "Job":
    """Check all arguments, and open what they name, before anything is computed or written.

    Raises:
        OfframpError: one cannot be used.
    """
    from serving.bulk.classifier import BulkClassifier
    from serving.bulk.decoding import Limits
    from serving.bulk.items import SourceError
    from serving.bulk.job import Job, total_flops
    from serving.bulk.opening import open_source
    from serving.hub.bundles import open_bundle
    from serving.options import ClassifyOptions
    from serving.policy.budget import is_time

    if arguments.budget is not None and is_time(arguments.budget):
        raise OfframpError(
            f"--budget {arguments.budget} is a time, which is measured anew at every start: a job that goes "
            "on would answer otherwise. Give FLOPs or a share, such as those that a server's "
            f"GET /models/NAME/plan?budget={arguments.budget} names"
        )
    bundle = open_bundle(arguments.bundle, max_bytes=arguments.max_download)
    source = open_source(
        arguments.source,
        files=arguments.files,
        column=arguments.column,
        keep=arguments.keep or (),
        max_download=arguments.max_download,
    )
    if not len(source):
        raise SourceError(f"{arguments.source}: there are no images in it")
    total = None
    if arguments.budget_total is not None:
        total = total_flops(arguments.budget_total, len(source), bundle.manifest.exit_flops)
    ask = ClassifyOptions(budget=arguments.budget, max_drop=arguments.max_drop)
    job = Job(
        source=source,
        classifier=BulkClassifier.load(bundle, ask, threads=arguments.threads),
        out=arguments.out.absolute(),
        facts={
            "bundle": bundle.name,
            "manifest": bundle.manifest.identity,
            "budget": arguments.budget,
            "max_drop": arguments.max_drop,
        },
        # They wait once they are a shard ahead: too many of them take nothing from the network.
        limits=Limits(
            arguments.max_pixels, arguments.decode_threads or arguments.threads or resources().cores
        ),
        total_flops=total,
        probabilities=arguments.probabilities,
    )
    job.schema  # noqa: B018 - refuses columns of one name
    return job
