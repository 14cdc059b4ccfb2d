"""The settings of a comparison: each field is an argument of `offramp compare`."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, create_model

from training.config import FitConfig

PER_RUN = frozenset({"method", "method_option", "epochs", "max_minutes", "seed"})
"""Settings of `training.fit` that the comparison itself decides."""


class CompareConfig(BaseModel):
    """Options of a comparison: methods, epochs and seeds."""

    methods: tuple[str, ...] = Field(
        min_length=1,
        description="methods, each with options where wanted: joint meta-gf meta-gf:granularity=channel",
    )
    epochs: int | None = Field(None, ge=1, description="compare at equal epochs, this many")
    max_minutes: float | None = Field(
        None, gt=0, description="compare at equal training time: as many epochs of each method as fit"
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0, 1, 2), min_length=1, description="one run of every method per seed"
    )
    out: Path = Field(description="folder of the runs and the report")


SharedSettings = create_model(
    "SharedSettings",
    **{
        name: (field.annotation, field)
        for name, field in FitConfig.model_fields.items()
        if name not in PER_RUN
    },
)  # type: ignore[call-overload]
"""The settings of `training.fit` that all runs share."""
