"""What `advise` is told."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import CliPositionalArg

from training.adopting.config import EXPECTED, AdoptConfig
from training.exporting.config import Precision
from training.models.fields import Positive


class AdviseConfig(AdoptConfig):
    """What is compared, and how it is measured."""

    precision: Annotated[Precision, BeforeValidator(lambda given: {"fp16": "float16"}.get(given, given))] = (
        Field("int8", description="measured beside float32: int8 or fp16 (float16); float32 for nothing more")
    )
    budget: str | None = Field(
        None,
        description="what an image may cost, such as 60MFLOPs, or 50% of the dearest network",
    )
    latency_ms: float | None = Field(
        None, gt=0, description="milliseconds within which 95% of single images are to be answered"
    )
    cascades: Literal["pairs", "all", "none"] = Field(
        "pairs", description="pairs of networks and the row of all of them; every row; or none"
    )
    adopt: Literal["dearest", "all", "none"] = Field(
        "dearest", description="which networks are given early exits; heads are trained for these"
    )
    test_limit: Positive = Field(5_000, description="images that alternatives are judged on at most")
    timed_images: Positive = Field(100, description="images that are sent one by one to be timed")
    rounds: Positive = Field(5, description="how often each of these is sent, all alternatives taking turns")


class AdviseArguments(AdviseConfig):
    """Build the ways to serve trained networks, measure them by the server on this machine, and compare."""

    networks: CliPositionalArg[tuple[str, ...]] = Field(
        (), min_length=1, validate_default=True, description=f"{EXPECTED}; or the folder of a bundle"
    )
    out: Path = Field(description="folder of the bundles, advice.json and advice.png")
    force: bool = Field(False, description="build bundles again that are there from other settings")
