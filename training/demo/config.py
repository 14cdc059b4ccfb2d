"""The settings of the demo: each field is an argument of `offramp demo`."""

from pathlib import Path

from pydantic import BaseModel, Field


class DemoConfig(BaseModel):
    """Options of the demo: its size, and the folder of its files."""

    epochs: int = Field(6, ge=1, description="outer epochs of meta-gf")
    run: Path = Field(Path("runs/demo"), description="run folder; an older one is removed")
    bundle: Path = Field(Path("exported_models/digits"), description="bundle; an older one is replaced")
    connections: int = Field(4, ge=1, description="requests under way at once")
