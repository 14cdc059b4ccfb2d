"""Schemas of the protocol's documents, for OpenAPI."""

from typing import Any

from pydantic import BaseModel, Field

from serving.web.schemas import binary


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor that a model takes or gives; -1 is the number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model's inputs and outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, str]


class IndexEntry(BaseModel):
    """A version of a model in the repository."""

    name: str
    version: str
    state: str = Field(description="`READY`, `LOADING` or `UNAVAILABLE`.")
    reason: str


class ChangeBody(BaseModel):
    """What is to be loaded or unloaded."""

    parameters: dict[str, bool | int | float | str] = Field(
        default={}, description="`version`: that one alone; else what the settings want."
    )


class VersionBody(BaseModel):
    """A version."""

    version: str


class SplitBody(BaseModel):
    """A version, and the share of the requests without a version that it gets."""

    version: str
    share: float = Field(gt=0, le=1)


class DurationBody(BaseModel):
    """A count, and nanoseconds in all."""

    count: int
    ns: int


class InferStatisticsBody(BaseModel):
    """The phases of requests."""

    success: DurationBody
    fail: DurationBody
    queue: DurationBody
    compute_input: DurationBody
    compute_infer: DurationBody
    compute_output: DurationBody
    cache_hit: DurationBody
    cache_miss: DurationBody


class BatchStatisticsBody(BaseModel):
    """Runs of a stage with so many images."""

    batch_size: int
    compute_input: DurationBody
    compute_infer: DurationBody
    compute_output: DurationBody


class ModelStatisticsBody(BaseModel):
    """Totals of a model."""

    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970.")
    inference_count: int = Field(description="Images answered.")
    execution_count: int = Field(description="Runs of a stage.")
    inference_stats: InferStatisticsBody
    batch_stats: list[BatchStatisticsBody]


class StatisticsBody(BaseModel):
    """Totals of models."""

    model_stats: list[ModelStatisticsBody]


class InferTensor(BaseModel):
    """A tensor."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, bool | int | float | str] = Field(
        default={}, description="`binary_data_size`: how many bytes behind the JSON are its elements."
    )
    data: list[Any] | None = Field(default=None, description="The elements, flat or nested.")


class InferOutput(BaseModel):
    """An output that is wanted."""

    name: str
    parameters: dict[str, bool | int | float | str] = Field(
        default={}, description="`binary_data`; `classification`: name so many of the likeliest classes."
    )


class InferBody(BaseModel):
    """A request."""

    id: str = ""
    parameters: dict[str, bool | int | float | str] = Field(
        default={}, description="`budget`, `mode`, `deadline_ms`, `max_drop`; `binary_data_output`."
    )
    inputs: list[InferTensor]
    outputs: list[InferOutput] = []


class InferenceBody(BaseModel):
    """An answer."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[InferTensor]


INFER_BODY = {
    "required": True,
    "content": {"application/json": {"schema": InferBody.model_json_schema()}}
    | binary("application/octet-stream"),
}
INFER_RESPONSE: dict[str, Any] = {"model": InferenceBody, "content": binary("application/octet-stream")}
