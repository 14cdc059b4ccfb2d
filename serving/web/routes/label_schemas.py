"""What labels and their evidence look like, for OpenAPI, and the bounds of a request with labels."""

from pydantic import BaseModel, ConfigDict, Field

MAX_LABELS = 10_000
"""The most labels in one request."""
MAX_ID = 64
"""The most characters of a request's id."""
MAX_PLACE = 2**31
"""An image's place in its request is below this."""


class LabelBody(BaseModel):
    """The true class of an image, by its name or by its index."""

    request_id: str = Field(
        min_length=1, max_length=MAX_ID, description="`Offramp-Request-ID` of its answer."
    )
    image: int = Field(default=0, ge=0, lt=MAX_PLACE, description="Its place in the request, from 0.")
    class_name: str | None = None
    class_index: int | None = None

    model_config = ConfigDict(extra="forbid")


class LabelsBody(BaseModel):
    """True classes of images that were answered."""

    labels: list[LabelBody] = Field(min_length=1, max_length=MAX_LABELS)

    model_config = ConfigDict(extra="forbid")


class TakenBody(BaseModel):
    """What became of labels."""

    new: int = Field(description="Images that had none.")
    same: int = Field(description="Images that had the same one.")
    contradicting: int = Field(description="Images that had another one; the last stands.")
    certifying: int = Field(description="New ones of the random sample, which the certificate rests on.")
    unknown: int = Field(description="Left out with `on_unknown=skip`: their answers are not kept.")


class ExitAccuracyBody(BaseModel):
    """Labelled answers of an exit."""

    exit: int = Field(description="From 1.")
    labelled: int
    accuracy: float
    interval: tuple[float, float] = Field(description="Of 95% (Wilson).")


class TrafficCertificateBody(BaseModel):
    """The share of answers that leaving early loses at most, on the traffic as it is served."""

    images: int = Field(description="Labelled images of the random sample that it rests on.")
    lost: int = Field(description="Of these, right at full depth and wrong where they left.")
    bound: float
    delta: float = Field(description="The chance that a certificate of the series does not hold.")
    max_drop: float | None = Field(description="The server's own guarantee, if it has one.")
    kept: bool | None = Field(description="Whether the bound proves it; null without one.")


class AccuracyBody(BaseModel):
    """What labels say of a model."""

    model: str
    exits: list[ExitAccuracyBody] = Field(description="Only exits with labelled answers that are kept.")
    alarm: bool = Field(description="Whether accuracy has fallen under what the calibration promises.")
    evidence: float = Field(description="Of a fall; from 1 / `delta` on it is an alarm.")
    delta: float = Field(description="The chance that a false alarm is ever raised.")
    contradictions: int
    sampled: int = Field(description="Labelled images of the random sample in this series.")
    lost: int = Field(description="Of these, answers that leaving early lost.")
    certificate: TrafficCertificateBody | None
