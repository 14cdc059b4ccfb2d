"""Options of `cascade` and `adopt`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import CliPositionalArg

from training.data import normalising
from training.exporting.config import ExportSettings
from training.models.fields import Positive

Truth = Literal["labels", "own"]
"""Those of `serving.bundle.manifest`, which loads onnx: a type checker holds the one against the other."""


def _words(given: object) -> object:
    return tuple(given.split()) if isinstance(given, str) else given


AUTO = "auto"
EXPECTED = (
    "an ONNX file, torchvision:NAME, timm:NAME, hf:FOLDER-or-name or package.module:factory, each of the "
    "last four with @WEIGHTS (a file of weights, or random)"
)

Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class AdoptingConfig(ExportSettings):
    """Options of both commands: images, classes, pixels, and the precision."""

    dataset: str = Field(
        min_length=1,
        description="images like those to be served: digits, cifar10, cifar100, fashion-mnist, a "
        "Hugging Face Hub name, a folder of images by class or of parquet shards, or, with --truth own, "
        "of images alone",
    )
    calibrate_on: str | None = Field(
        None,
        description="images that thresholds are fitted on, which the network has never seen; a part of "
        "--dataset where not given",
    )
    test_dataset: str | None = Field(
        None, description="labelled images that nothing is fitted on, to judge the bundle by"
    )
    image_column: str | None = Field(None, description="column of the images, if the features do not show it")
    label_column: str | None = Field(None, description="column of the labels, if the features do not show it")
    truth: Truth = Field(
        "labels",
        description="the truth: the labels, or the full network's own answers, for images without labels",
    )
    normalise: Words = Field(
        (), description=f"how the network takes its pixels, for all or one for each: {normalising.HELP}"
    )
    classes: Words = Field(
        (),
        description="file of class names, a line each in the order of the network's output, for all or one "
        "for each; the data set's order where not given",
    )
    ensemble: Literal["none", "early", "all"] = Field(
        "none",
        description="exits answer by themselves, or by a geometric ensemble of the exits so far: early ones, "
        "the last staying the network's own answer, or all",
    )
    image_size: Positive | None = Field(
        None, description="height and width in pixels, for a network that leaves them open"
    )
    resize: Positive | None = Field(
        None, description="the shorter side is scaled to this many pixels before the centre is cropped"
    )
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = Field(
        "bilinear", description="how images are scaled"
    )
    limit: Positive = Field(20_000, description="images to calibrate on at most")
    seed: int = Field(0, ge=0, description="of every draw")

    @model_validator(mode="after")
    def _truth_stays(self) -> Self:
        if self.truth == "own" and self.ensemble == "all":
            raise ValueError(
                "--truth own takes the last exit's own answers for the truth, which --ensemble all would "
                "change: give --ensemble early"
            )
        return self

    def files(self) -> list[Path]:
        """Return the files of class names."""
        return [Path(name).expanduser() for name in self.classes]


class AdoptConfig(AdoptingConfig):
    """Options of `adopt`."""

    exits: str = Field(
        AUTO,
        description="where: auto or auto:K (the best of up to K), or names of tensors and shares of the "
        "network's FLOPs with commas between, as 15%,40%",
    )
    head: Literal["conv", "mlp", "linear"] = Field(
        "conv",
        description="head of each exit: conv is two 3×3 convolutions; mlp and linear pool first",
    )
    head_share: float = Field(
        0.012,
        gt=0,
        lt=0.5,
        description="largest cost of a convolutional head, as a share of the network's FLOPs",
    )
    epochs: Positive = Field(5, description="passes over the features, per head")
    images: Positive = Field(50_000, description="images that heads learn from at most")
    cache_gb: float = Field(
        4.0,
        gt=0,
        description="disk for features, in 10⁹ bytes; of more images they are computed in every pass",
    )
    work: Path | None = Field(
        None,
        description="folder for features and heads, to go on from if interrupted; beside --out if not given",
    )


class CascadeArguments(AdoptingConfig):
    """Make one bundle of networks that are trained already, from the cheapest to the dearest."""

    networks: CliPositionalArg[tuple[str, ...]] = Field(
        (), min_length=2, validate_default=True, description=f"{EXPECTED}; from the cheapest to the dearest"
    )
    out: Path = Field(description="the bundle's folder; its name is the model's")
    force: bool = Field(False, description="replace the bundle, its whole folder, if there")
    json_file: Path | None = Field(None, alias="json", description="file that takes the figures as JSON")


class AdoptArguments(AdoptConfig):
    """Give a trained network early exits; its own answers stay as they are."""

    network: CliPositionalArg[str] = Field(description=EXPECTED)
    out: Path = Field(description="the bundle's folder; its name is the model's")
    force: bool = Field(False, description="replace the bundle, its whole folder, if there")
    json_file: Path | None = Field(None, alias="json", description="file that takes the figures as JSON")
