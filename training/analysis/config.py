"""The settings of the analyses: each field is an argument of `offramp conflict` or `offramp importance`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from serving.system.resources import MOST_THREADS


class ConflictConfig(BaseModel):
    """Options of the conflict report."""

    batches: int = Field(16, ge=1, description="training batches whose gradients are compared")
    expected: bool = Field(True, description="measure the expected gradients too, by a task per exit")
    share: float = Field(1.0, gt=0, le=1, description="share of the training images in an exit's task")
    epochs: int = Field(0, ge=0, description="train a fresh copy for this many epochs, measuring as it goes")
    every: int = Field(1, ge=1, description="epochs between two measurements of the fresh copy")
    expected_training: bool = Field(
        False, description="measure the copy's expected gradients as well, by a task per exit each time"
    )
    out: Path | None = Field(None, description="folder of the results; RUN/conflict where not given")
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads; all cores where not given"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


class ImportanceConfig(BaseModel):
    """Options of the pruning report: its pruning, and the images that it is measured on."""

    exits: tuple[int, ...] | None = Field(None, description="exits to prune for, from 1; all where not given")
    max_share: float = Field(0.4, gt=0, le=1, description="share of an exit's shared weights pruned at last")
    steps: int = Field(8, ge=1, description="steps from nothing to that")
    draws: int = Field(3, ge=1, description="random prunings to compare with")
    split: Literal["test", "validation"] = Field("test", description="images to measure on")
    images: int = Field(2000, ge=1, description="at most this many of them, the first")
    seed: int = Field(0, ge=0, description="seed of the random prunings")
    out: Path | None = Field(None, description="folder of the results; RUN/importance where not given")
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads; all cores where not given"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
