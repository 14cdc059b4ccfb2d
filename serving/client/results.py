"""Answers of the server as typed values; members that a newer server adds are left out."""

from dataclasses import dataclass, field

from serving.answer import Answer


@dataclass(frozen=True, slots=True)
class TopClass:
    """One of the likeliest classes.

    Attributes:
        class_name: its name.
        class_index: its index, from 0.
        probability: in [0, 1].
    """

    class_name: str
    class_index: int
    probability: float


@dataclass(frozen=True, slots=True)
class ServerAnswer(Answer):
    """The server's answer to one image: what `Model.classify` answers, and the names that a label needs.

    Attributes:
        request_id: the server's id of the request, `Offramp-Request-ID`.
        index: the place of the image in the request, from 0.
        likeliest: the likeliest classes, likeliest first; None where `top_k` was not asked for.
    """

    request_id: str = ""
    index: int = 0
    likeliest: tuple[TopClass, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ServedExit:
    """An exit of a model.

    Attributes:
        exit: from 1.
        flops: of an image that leaves here, every earlier head included.
        validation_accuracy: share of validation images that it gets right.
        ms: milliseconds of compute per image; None where stages were not timed.
    """

    exit: int
    flops: int
    validation_accuracy: float
    ms: float | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the server has loaded.

    Attributes:
        name: for `model=`.
        alive: whether the thread that computes lives.
        classes: how many there are.
        precision: of its weights, such as "int8".
        exits: the first is the cheapest.
        default_budget: of requests that name none.
        default_budget_flops: the same in FLOPs per image.
        is_default: whether it answers requests that name no model.
    """

    name: str
    alive: bool
    classes: int
    precision: str
    exits: tuple[ServedExit, ...]
    default_budget: str
    default_budget_flops: float
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class PlannedExit:
    """The effect of a budget at one exit.

    Attributes:
        exit: from 1.
        flops: of an image that leaves here.
        threshold: an image leaves where its score reaches it; None at the last exit, where all leave.
        share: of held-out images that leave here.
        ms: milliseconds of compute per image; None where stages were not timed.
    """

    exit: int
    flops: int
    threshold: float | None
    share: float
    ms: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Accuracy and cost to expect under a budget or a guarantee, on held-out calibration images.

    Attributes:
        model: its name.
        budget_flops: the budget, in FLOPs per image.
        expected_flops: the mean cost.
        expected_accuracy: the share that is answered rightly.
        expected_accuracy_interval: Wilson's 95% interval of that.
        images: how many this was measured on.
        exits: what happens at each.
        budget_ms: the budget in milliseconds per image, where it is a time.
        expected_ms: mean compute per image; None where stages were not timed.
    """

    model: str
    budget_flops: float
    expected_flops: float
    expected_accuracy: float
    expected_accuracy_interval: tuple[float, float]
    images: int
    exits: tuple[PlannedExit, ...]
    budget_ms: float | None = None
    expected_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """The true class of an image that was answered.

    Attributes:
        request_id: of its answer.
        index: its place in the request, from 0.
        label: the name of the class, or its index.
    """

    request_id: str
    index: int
    label: str | int


@dataclass(frozen=True, slots=True)
class LabelsTaken:
    """What became of labels, as numbers of images.

    Attributes:
        new: had none.
        same: had the same one.
        contradicting: had another one; the last stands.
        certifying: of the random sample, which the certificate rests on.
        unknown: left out, since their answers are not kept.
    """

    new: int
    same: int
    contradicting: int
    certifying: int
    unknown: int
