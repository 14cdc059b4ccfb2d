"""Schemas of the answers, for OpenAPI; `POST /classify` itself writes its JSON without them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from serving.bundle.manifest import DataSet, Named, Truth
from serving.events import View
from serving.images.preprocessing import Preprocessing
from serving.policy.plan import JudgedOn
from serving.web.problems import Problem


class TopClassBody(BaseModel):
    """One of the likeliest classes."""

    class_name: str
    class_index: int
    probability: float


class ExitReportBody(BaseModel):
    """The answer of one exit to an image."""

    exit: int = Field(description="From 1.")
    class_name: str
    class_index: int
    confidence: float
    score: float = Field(description="The number that is compared with the threshold.")
    threshold: float | None = Field(description="Null at the last exit, where every image leaves.")
    leaves: bool = Field(description="Whether the image would leave here, had it not left before.")
    flops: int


_TRUTH: Any = Field(
    description="The truth behind accuracies: `labels`, or the full network's `own` answers; then they "
    "are the share of images on which an exit agrees with it."
)


class AnswerBody(BaseModel):
    """One image's class under its budget."""

    class_name: str
    class_index: int
    confidence: float = Field(description="The highest probability, 0 to 1.")
    exit: int = Field(description="The exit that answered; the first is 1.")
    flops: int = Field(description="Nominal FLOPs spent on this image.")
    budget_flops: float = Field(description="The budget, in FLOPs per image on average.")
    model: str
    ms: float | None = Field(
        default=None,
        description="What leaving there takes, in milliseconds of compute as measured when the model was "
        "loaded; where the budget is a time.",
    )
    budget_ms: float | None = Field(
        default=None, description="The budget, in milliseconds per image on average; where it is a time."
    )
    deadline_met: bool | None = Field(
        default=None, description="Whether the answer was there by the deadline; absent where none was given."
    )
    top: list[TopClassBody] | None = Field(default=None, description="With `top_k`: likeliest first.")
    probabilities: list[float] | None = Field(default=None, description="With `probabilities=1`, by index.")
    exits: list[ExitReportBody] | None = Field(default=None, description="With `explain=1`.")


class ItemProblemBody(BaseModel):
    """In place of an image that could not be read, with `on_error=item`."""

    problem: Problem


class AnswersBody(BaseModel):
    """One answer for each image, in their order."""

    results: list[AnswerBody | ItemProblemBody]


class ImagesBody(BaseModel):
    """Several encoded images."""

    images: list[str] = Field(description="PNG, JPEG or WebP images in base64.")


class ExitBody(BaseModel):
    """One exit of a model."""

    exit: int = Field(description="From 1.")
    flops: int = Field(description="FLOPs of an image that leaves here, every earlier head included.")
    ms: float | None = Field(
        description="Compute of an image that leaves here, in milliseconds, as measured when the model was "
        "loaded; null where its stages were not timed."
    )
    validation_accuracy: float = Field(
        description="Share of validation images that this exit gets right; what is right, `truth` says."
    )


class ModelBody(BaseModel):
    """A loaded model."""

    name: str
    alive: bool = Field(description="Whether the thread that computes lives.")
    providers: list[str] = Field(
        description="The execution providers that all its stages run on, best first."
    )
    features_on: str = Field(description="Where features wait between stages: `host`, or `device`.")
    runtime: str = Field(description="What computes it: `onnxruntime` or `openvino`.")
    inference_precision: str = Field(description="What it is computed in: that of the bundle, or `bfloat16`.")
    runtime_ms: dict[str, float] = Field(
        description="Milliseconds per image at full depth by which `--runtime auto` chose, by runtime; empty "
        "where there was nothing to choose."
    )
    arithmetic_differs: str | None = Field(
        description="How that differs from the arithmetic of the calibration; null where it does not."
    )
    architecture: Named
    method: Named
    data_set: DataSet
    precision: str
    git_revision: str | None
    classes: int
    preprocessing: Preprocessing
    truth: Truth = _TRUTH
    original_flops: int | None = Field(
        description="FLOPs per image of the network that this one was made of, where it was not trained so."
    )
    exits: list[ExitBody]
    default_budget: str
    default_budget_flops: float


class ModelsBody(BaseModel):
    """Every loaded model."""

    models: list[ModelBody]
    default_model: str | None = Field(description="The model of a request that names none, if any.")


class PlannedExitBody(BaseModel):
    """Effect of a budget at one exit."""

    exit: int = Field(description="From 1.")
    flops: int
    ms: float | None = Field(
        description="Milliseconds of compute per image that leaves here, as `/models` has it."
    )
    threshold: float | None = Field(
        description="An image leaves where its confidence reaches this, above 1 none. Null at the last "
        "exit, where every image leaves."
    )
    share: float = Field(description="Share of the held-out images that leave here.")


class CertificateBody(BaseModel):
    """The promise of thresholds, and its evidence."""

    max_drop: float = Field(description="The share of answers that leaving early loses is at most this,")
    delta: float = Field(description="unless the certifying images were a draw as unlucky as this.")
    images: int = Field(description="Number of certifying images.")
    risk: float = Field(description="The share of them that leaving early loses.")
    p_value: float = Field(description="The chance of so low a share if it were over `max_drop` in truth.")


class PlanBody(BaseModel):
    """Accuracy and cost under a budget or a guarantee, on calibration images without fitted thresholds."""

    model: str
    budget_flops: float = Field(
        description="The budget; of a time, what such thresholds cost on the images that they were fitted on."
    )
    expected_flops: float
    budget_ms: float | None = Field(description="The budget in milliseconds per image, where it is a time.")
    expected_ms: float | None = Field(
        description="Mean compute per image in milliseconds; null where the model's stages were not timed."
    )
    expected_accuracy: float = Field(
        description="Share of held-out images that is answered rightly. Another set of images differs by "
        "about as much as the interval says."
    )
    expected_accuracy_interval: tuple[float, float] = Field(description="95%, Wilson's.")
    images: int = Field(description="Number of images that `expected_*` and `share` were measured on.")
    judged_on: JudgedOn = Field(
        description="`held out`: no threshold was fitted on these images. `cross-fitted`: where the bundle "
        "keeps none; each fifth was judged by thresholds fitted on the others. `fitted`: neither."
    )
    truth: Truth = _TRUTH
    share_of_original: float | None = Field(
        description="The expected FLOPs over those of the network that this one was made of."
    )
    exits: list[PlannedExitBody]
    certificate: CertificateBody | None = Field(
        default=None, description="Of a guarantee; null where thresholds come from a budget alone."
    )


class CorrectionBody(BaseModel):
    """The closed loop's correction of one class of budgets, 5% wide."""

    budget_class: str = Field(description="The lower edge, as a share of the full depth.")
    factor: float = Field(description="By which its budgets are multiplied before thresholds are planned.")
    error: float = Field(description="Mean FLOPs spent of late over those asked for, less 1.")


class ExitHealthBody(BaseModel):
    """One exit of a model in service; null is "not measured yet"."""

    exit: int = Field(description="From 1.")
    drift_score: float | None = Field(
        description="Population stability index of the answers of late against the calibration's."
    )
    drift_limit: float | None = Field(description="Over it, the drift score is an alarm.")
    drift_alarm: bool
    drift_of: View | None = Field(
        description="The part that is least like the calibration: confidences, or classes."
    )
    drift_images: int | None = Field(description="Number of images behind the drift score.")
    watched: int = Field(description="Images that left here and were run to the end in idle time.")
    agreement: float | None = Field(description="Share of these that the last exit agrees on.")
    agreement_expected: float | None = Field(
        description="Its value on the calibration images, for recent thresholds."
    )
    agreement_alarm: bool = Field(description="Whether it is recently lower than chance explains.")


class HealthBody(BaseModel):
    """A model's health."""

    model: str
    status: Literal["ok", "drifting", "dead"]
    controller: Literal["on", "off"]
    corrections: list[CorrectionBody]
    exits: list[ExitHealthBody]
    unchecked: int = Field(description="Sampled early answers that found no idle time.")


class RecentImageBody(BaseModel):
    """An image that was answered of late, and its answer."""

    class_name: str
    confidence: float
    picture: str = Field(description="A data: address of a PNG, at most 64 × 64.")


class RecentExitBody(BaseModel):
    """The latest images that left at an exit, newest first."""

    exit: int = Field(description="From 1.")
    images: list[RecentImageBody]


class RecentBody(BaseModel):
    """The latest images that left at each exit of a model."""

    model: str
    exits: list[RecentExitBody]


class LiveBody(BaseModel):
    """A model's last minutes: lists have one value for each whole second, from second `first` on."""

    model: str
    kept_seconds: int = Field(description="Number of seconds that are kept.")
    first: int = Field(description="The first second of the lists, counted from the start of the server.")
    next: int = Field(description="The first second that is not there yet.")
    full_flops: int = Field(description="FLOPs of an image that goes to the last exit.")
    image_seconds: list[float] = Field(
        description="Seconds of each stage for an image, in batches of the best size; 0 where it never ran."
    )
    threads: int = Field(description="Number of threads that compute.")
    exits: list[list[int]] = Field(description="For each exit, the images answered there.")
    spent_flops: list[int] = Field(description="Nominal FLOPs spent on answered images.")
    asked_flops: list[float] = Field(description="The sum of their budgets.")
    p50_seconds: list[float | None] = Field(
        description="Half of the requests were answered within this, give or take 5%; null without requests."
    )
    p99_seconds: list[float | None] = Field(description="99% of the requests were answered within this.")
    batches: list[int] = Field(description="Runs of a stage.")
    batch_images: list[int] = Field(description="Images in these runs together.")
    waiting: list[float] = Field(description="Images that waited for a stage, on average over the second.")
    failed: list[int] = Field(description="Admitted images that got no answer.")
    lowered: list[int] = Field(description="Images whose budget a brown-out lowered.")
    health: HealthBody


def binary(*media_types: str) -> dict[str, Any]:
    """Describe bodies that are bytes."""
    return {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types}
