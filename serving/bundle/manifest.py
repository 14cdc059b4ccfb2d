"""What `manifest.json` of a bundle says (docs/bundle.md has the format)."""

import hashlib
from itertools import accumulate
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from serving.images.preprocessing import Preprocessing

FORMAT_VERSION: Final = 1
"""The format of drafts: `write_bundle` makes it 2 where something new is used (decision 11)."""
NEWEST_FORMAT: Final = 2
UNSEALED = "0" * 64
"""The checksum of a draft: `write_bundle` puts the real one in its place."""

ROWS = "rows"
"""The optional int64 input of segments 2, 3, …: which rows of the features survive, gathered in the graph."""

_MOST_FLOPS = 10**15
"""A thousand times what the largest image classifiers need."""

Accuracy = float
DType = Literal["uint8", "float32", "float16", "int64"]
Precision = Literal["float32", "float16", "int8"]
Truth = Literal["labels", "own"]
FileName = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=120)
Checksum = Field(pattern=r"^[0-9a-f]{64}$")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(_Frozen):
    """A named input or output of a segment; None in `shape` is the batch dimension."""

    name: str = Field(min_length=1)
    dtype: DType
    shape: tuple[int | None, ...]


class SegmentSpec(_Frozen):
    """One exit: the ONNX file that leads from the features of the exit before to this exit's probabilities.

    `outputs[0]` holds probabilities, float32 [N, C]; the rest are the features for the next segment, named,
    typed, shaped and ordered as its inputs. FLOPs are per image, in the convention of docs/bundle.md.
    """

    file: str = FileName
    sha256: str = Checksum
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    body_flops: int = Field(ge=0, le=_MOST_FLOPS)
    head_flops: int = Field(ge=0, le=_MOST_FLOPS)
    validation_accuracy: Accuracy = Field(ge=0, le=1)

    @property
    def feature_inputs(self) -> tuple[TensorSpec, ...]:
        """Return the inputs that come from the segment before: all but the optional `rows`."""
        return tuple(spec for spec in self.inputs if spec.name != ROWS)

    @property
    def gathers_rows(self) -> bool:
        """Say whether the segment takes a `rows` input and gathers the survivors by itself."""
        return any(spec.name == ROWS for spec in self.inputs)


class Named(_Frozen):
    """An architecture or a method: its name, and the options that make it reproducible."""

    name: str = Field(min_length=1)
    options: dict[str, JsonValue] = {}


class DataSet(BaseModel):
    """The data that the model was trained on: a name (never a path) and small facts."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, str | int | float | bool | None] = Field(init=False)

    name: str = Field(min_length=1)
    split_seed: int | None = None
    train_images: int | None = None
    validation_images: int | None = None
    validation_share: float | None = None
    """Of the publisher's training images, those kept for validation, where they were drawn from there."""
    calibrated_on_test: float | None = None
    """Of the publisher's test images, those kept for calibration, where the network saw every other image."""
    fingerprint: str | None = None
    """Of the labels in row order: shows a calibration whether it has the training images."""
    counts_fingerprint: str | None = None
    """Of the images per class: shows the same for rows in another order."""


class Arithmetic(_Frozen):
    """Runtime and precision of the calibration; others give other confidences in the last digits."""

    runtime: str = Field(min_length=1)
    precision: str = Field(min_length=1)
    instruction_set: str | None = None


class FileSpec(_Frozen):
    """A file of the bundle and its checksum."""

    file: str = FileName
    sha256: str = Checksum


class CalibrationSpec(_Frozen):
    """The file that thresholds are fitted on, the confidence measure they cut, and the policy behind them."""

    file: str = Field(default="calibration.npz", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=120)
    sha256: str = Checksum
    confidence: str = "max_probability"
    policy: Named = Named(name="geometric")
    """The policy that turns budgets into thresholds: a name and options of `serving.policy.registry`."""
    source: str | None = None
    """Where its images come from when not the validation images of the training run."""
    truth: Truth | None = None
    """The kind of its labels: `labels` (also where absent), or the full network's `own` answers. Format 2."""
    arithmetic: Arithmetic | None = None
    """Runtime and precision of its answers. Format 2."""


class Manifest(_Frozen):
    """All that is known of a bundle besides its graphs and its calibration.

    Exits are the segments in order. Building one checks that the segments chain; whether the files keep what
    is promised here is `read_bundle`'s part.
    """

    format_version: Literal[1, 2]
    architecture: Named
    method: Named
    data_set: DataSet
    git_revision: str | None = None
    versions: dict[str, str] = {}
    classes: tuple[str, ...] = Field(min_length=2)
    preprocessing: Preprocessing
    segments: tuple[SegmentSpec, ...] = Field(min_length=1)
    precision: Precision
    float_validation_accuracy: tuple[Accuracy, ...] | None = None
    calibration: CalibrationSpec
    samples: FileSpec | None = None
    """A few images of the kind that the network was trained on, for consoles and checks. Format 2."""
    original_flops: int | None = Field(None, gt=0)
    """FLOPs per image of the network that this one was made of, where it was not trained as it is. Format "
    "2."""

    licence: str | None = Field(None, min_length=1, max_length=200)
    """The licence that the model is given under, as the Hub writes it (`apache-2.0`). Format 2."""

    @property
    def truth(self) -> Truth:
        """Say what accuracies are held against: labels, or the full network's own answers."""
        return self.calibration.truth or "labels"

    @property
    def used_format(self) -> Literal[1, 2]:
        """Return the oldest format that has all that is used here."""
        spec = self.calibration
        new = (
            *(spec.truth, spec.arithmetic, self.samples, self.original_flops, self.licence),
            self.preprocessing.decode,
        )
        return 1 if all(value is None for value in new) else 2

    @property
    def identity(self) -> str:
        """Return 64 hexadecimal digits that tell the bundle from any other: it has its files' checksums.

        Only what the file says counts. A key that it leaves out, such as one that a later version of Offramp
        adds, does not: what was learned of a bundle, and its labels, are found again after an upgrade.
        """
        return hashlib.sha256(self.model_dump_json(exclude_unset=True).encode()).hexdigest()

    def to_json(self) -> bytes:
        """Return the file's content; keys of format 2 only where they are used, for older readers."""
        unused: dict[str, Any] = {
            "calibration": {key for key in ("truth", "arithmetic") if getattr(self.calibration, key) is None},
            "preprocessing": {"decode"} if self.preprocessing.decode is None else set(),
            **{key: True for key in ("samples", "original_flops", "licence") if getattr(self, key) is None},
        }
        return self.model_dump_json(indent=2, exclude=unused).encode() + b"\n"

    @property
    def exit_flops(self) -> tuple[int, ...]:
        """Return the FLOPs per image up to each exit: the bodies so far and every head so far."""
        return tuple(accumulate(segment.body_flops + segment.head_flops for segment in self.segments))

    @model_validator(mode="after")
    def _chains(self) -> Self:
        size = (None, self.preprocessing.height, self.preprocessing.width, 3)
        first = self.segments[0].inputs
        if len(first) != 1 or first[0].dtype != "uint8" or first[0].shape != size:
            raise ValueError(
                f"segment 1 must take one input, uint8 {_shape(size)}, as preprocessing makes it; "
                f"found {_tensors(first)}"
            )
        for number, (segment, following) in enumerate(
            zip(self.segments, self.segments[1:], strict=False), start=1
        ):
            if segment.outputs[1:] != following.feature_inputs:
                raise ValueError(
                    f"the outputs of segment {number} after the probabilities must be the inputs of segment "
                    f"{number + 1}; found outputs {_tensors(segment.outputs[1:])}, "
                    f"inputs {_tensors(following.feature_inputs)}"
                )
        if len(self.segments[-1].outputs) != 1:
            raise ValueError("the last segment must put out probabilities only; remove its other outputs")
        return self

    @model_validator(mode="after")
    def _segments_fit(self) -> Self:
        answer = (None, len(self.classes))
        for number, segment in enumerate(self.segments, start=1):
            probabilities = segment.outputs[0]
            if probabilities.dtype != "float32" or probabilities.shape != answer:
                raise ValueError(
                    f"the first output of segment {number} must be probabilities, "
                    f"float32 {_shape(answer)} for {len(self.classes)} classes; "
                    f"found {_tensors((probabilities,))}"
                )
            if segment.body_flops + segment.head_flops == 0:
                raise ValueError(f"segment {number} must cost more than 0 FLOPs: budgets are counted in them")
            for spec in segment.inputs:
                if spec.name == ROWS and (spec.dtype != "int64" or spec.shape != (None,)):
                    raise ValueError(f"the `rows` input of segment {number} must be int64 [N]")
            tensors = segment.inputs + segment.outputs
            if any(not spec.shape or spec.shape[0] is not None or None in spec.shape[1:] for spec in tensors):
                raise ValueError(
                    f"every tensor of segment {number} needs null (the batch) as its first dimension and "
                    f"numbers after it; found {_tensors(tensors)}"
                )
            if len({spec.name for spec in tensors}) != len(tensors):
                raise ValueError(f"the tensors of segment {number} must have different names")
        return self

    @model_validator(mode="after")
    def _format_fits(self) -> Self:
        if self.used_format > self.format_version:
            raise ValueError(
                f"format_version {self.format_version} has no truth, arithmetic, samples, original_flops, "
                f"licence or decode: write {NEWEST_FORMAT}, or leave them out"
            )
        return self

    @model_validator(mode="after")
    def _facts_fit(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("class names must differ from each other")
        held_against = self.float_validation_accuracy
        if held_against is not None and len(held_against) != len(self.segments):
            raise ValueError(
                f"float_validation_accuracy needs one value for each of the {len(self.segments)} segments; "
                f"found {len(held_against)}"
            )
        if self.precision != "float32" and held_against is None:
            raise ValueError(
                f"a bundle in {self.precision} must state the float_validation_accuracy it is held against"
            )
        return self


def _shape(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"


def _tensors(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name}: {spec.dtype} {_shape(spec.shape)}" for spec in specs) or "none"
