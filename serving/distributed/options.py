"""The options of replicas: those of Ray, and the server's settings that go with them."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ByteSize, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from serving.hub.download import MAX_BYTES


class RayOptions(BaseModel):
    """Serve bundles by replicas on a Ray cluster, each with its own closed loop."""

    models: str = Field(
        "exported_models",
        min_length=1,
        max_length=4096,
        description="the folder of bundles, the same on every machine, or hf://OWNER/NAME[@REVISION]",
    )
    model: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None, description="NAME=FOLDER, by commas: models by these names, beside those of --models"
    )
    max_download: ByteSize = Field(
        ByteSize(MAX_BYTES), gt=0, le=2**50, description="the most that a repository's bundles may have"
    )
    default_budget: str = Field("100%", description="the budget of a request that names none")
    default_model: str | None = Field(None, description="the model of a request that names none")
    max_queue_rows: int = Field(1024, gt=0, le=10_000_000, description="images that may wait in a model")
    replicas: int = Field(
        1, gt=0, le=10_000, description="replicas, the fewest where --max-replicas is given"
    )
    max_replicas: int | None = Field(
        None, gt=0, le=10_000, description="the most replicas: their number follows the images that wait"
    )
    target_waiting_images: float = Field(
        32, gt=0, le=10_000_000, description="images that may wait in a replica before there is another"
    )
    upscale_seconds: float = Field(
        10,
        ge=0,
        le=86400,
        description="seconds that too many must have waited before there are more replicas",
    )
    downscale_seconds: float = Field(
        300, ge=0, le=86400, description="seconds that few must have waited before there are fewer"
    )
    cpus: float = Field(1, gt=0, le=1024, description="cores of a replica")
    gpus: float = Field(0, ge=0, le=64, description="GPUs of a replica")
    health_seconds: float = Field(5, gt=0, le=3600, description="seconds between two checks of a replica")

    @field_validator("model", mode="before")
    @classmethod
    def _by_commas(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError("--max-replicas: expected at least as many as --replicas")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """The server's settings, as far as they were given."""
        own = ("models", "model", "max_download", "default_budget", "default_model", "max_queue_rows")
        given = {name: getattr(self, name) for name in own if name in self.model_fields_set}
        return {**given, "models": placed(self.models)}


def placed(name: str) -> str:
    """Return the path of a folder or file as every process sees it, whatever its own folder is.

    Args:
        name: a path, or a name of the Hub, which stays as it is.
    """
    path = Path(name)
    return str(path.absolute()) if path.exists() else name
