"""The settings of evaluations: each field is an argument of `offramp evaluate` or `offramp gallery`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from serving.system.resources import MOST_THREADS


class EvaluateConfig(BaseModel):
    """Options of an evaluation: its data, and the place of the result."""

    split: Literal["test", "validation"] = Field(
        "test",
        description="images to measure on; validation is for runs only, optimistic, and without the half "
        "that is kept for certifying",
    )
    dataset: str | None = Field(
        None, description="for a bundle: the data set, where the name in its manifest does not lead there"
    )
    image_column: str | None = Field(None, description="for a bundle: column of the images")
    label_column: str | None = Field(None, description="for a bundle: column of the labels")
    policy: Literal["geometric", "searched", "all"] | None = Field(
        None,
        description="turns budgets into thresholds, instead of the bundle's own (a run has geometric); "
        "all compares every policy under every confidence measure, too",
    )
    budgets: tuple[str, ...] = Field(
        (), description="budgets to measure beside those of the figure's grid, as in a request: 25% 10MFLOPs"
    )
    out: Path | None = Field(
        None, description="folder of the results; RUN/evaluation, or runs/evaluation-BUNDLE, where not given"
    )
    batch_size: int = Field(128, ge=1, description="images per batch")
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads; all cores where not given"
    )
    device: str = Field("cpu", description="for a run: auto, cpu, cuda or cuda:N")

    @property
    def compares(self) -> bool:
        """Whether all policies are compared."""
        return self.policy == "all"

    @property
    def policy_name(self) -> str | None:
        """The policy asked for; None leaves it to the bundle."""
        return None if self.compares else self.policy


class GalleryConfig(BaseModel):
    """Options of a gallery."""

    budget: str = Field("50%", description="cost of an image on average, as in a request")
    columns: int = Field(12, ge=1, le=40, description="images for each exit")
    seed: int = Field(0, ge=0, description="decides which images are drawn")
    dataset: str | None = Field(
        None, description="the data set, where the name in the bundle's manifest does not lead there"
    )
    out: Path | None = Field(None, description="the picture; runs/gallery-BUNDLE.png where not given")
