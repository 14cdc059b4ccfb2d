"""The settings of a training run: every field is a flag of `python -m training.fit`."""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from training.data.config import DataConfig
from training.loss_weighting import LOSS_WEIGHTINGS
from training.models.config import ModelConfig
from training.options import OptionConfig
from training.schedules import SCHEDULES

ScheduleName = Literal["constant", "step", "cosine"]
LossWeightingName = Literal["plain", "sdn-tau"]


class FitConfig(OptionConfig, ModelConfig, DataConfig):
    """What decides a run: data, model, method and optimiser."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field("meta-gf", description="joint, ge, pcgrad, cagrad, meta-gf or torchjd:NAME")
    method_option: dict[str, str] = Field({}, description="key=value options of the method")
    loss_weighting: LossWeightingName = Field(
        "plain", description=f"what each exit's loss counts: {', '.join(LOSS_WEIGHTINGS)}"
    )
    epochs: int = Field(20, ge=1, description="epochs; an outer epoch of meta-gf costs several plain ones")
    max_minutes: float | None = Field(
        None, gt=0, description="stop after the last whole epoch that fits into this many minutes of training"
    )
    batch_size: int = Field(64, ge=2, description="images per step")
    lr: float = Field(0.1, gt=0, description="SGD's learning rate at the start")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum")
    weight_decay: float = Field(1e-4, ge=0, description="L2 penalty")
    schedule: ScheduleName = Field("step", description=f"learning-rate schedule: {', '.join(SCHEDULES)}")
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16 = mixed precision by autocast")
    threads: int | None = Field(None, ge=1, description="CPU threads; all cores where not given")
    seed: int = Field(0, ge=0, description="seed of weights, order and augmentation")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    init_from: Path | None = Field(None, description="run folder whose last weights this run starts from")

    def stored(self) -> dict[str, object]:
        """Return the settings as plain values for config.json."""
        return self.model_dump(mode="json")


# What may differ when a run is resumed: none of these changes what is learned, up to rounding.
RESUMABLE = frozenset({"max_minutes", "threads", "workers", "device"})
