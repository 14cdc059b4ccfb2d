"""What comparisons of versions look like, for OpenAPI."""

from typing import Literal

from pydantic import BaseModel, Field


class EstimateBody(BaseModel):
    """A mean, and its 95% interval; null where there are too few numbers."""

    mean: float | None
    interval: tuple[float, float] | None


class TallyBody(BaseModel):
    """What one version did while it was compared."""

    version: str
    requests: int
    failed: int = Field(description="Requests that ended in an error.")
    images: int
    exits: dict[str, int] = Field(description="Images, by the exit that answered.")
    flops: EstimateBody = Field(description="Nominal FLOPs per image.")
    confidence: EstimateBody
    seconds: EstimateBody = Field(description="From admission to answer, per request.")


class DifferenceBody(BaseModel):
    """The other version's less the current one's; of a shadow, on the same images."""

    flops: EstimateBody
    confidence: EstimateBody
    seconds: EstimateBody | None = Field(description="Null for a shadow, which waits for idle time.")


class AgreementBody(BaseModel):
    """How often a shadow names the class that the current version named."""

    images: int
    missed: int = Field(description="Sampled images that found no idle time.")
    agreed: float | None = Field(description="Share of the images.")
    interval: tuple[float, float] | None = Field(description="95%, Wilson's.")


class ComparisonBody(BaseModel):
    """A version beside the current one."""

    role: Literal["canary", "shadow"]
    running: bool
    share: float
    current: TallyBody
    other: TallyBody
    difference: DifferenceBody
    agreement: AgreementBody | None = Field(description="Of a shadow.")


class CompareBody(BaseModel):
    """The comparisons of a model."""

    model: str
    current: str = Field(description="The version that answers now.")
    comparisons: list[ComparisonBody]
