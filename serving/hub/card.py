"""The metadata of a model card: the YAML block that the Hub reads, and a card for a bundle without one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.bundle.manifest import Manifest
from serving.hub.library import library

_EDGE = "---\n"
_TASK = "image-classification"
_TAGS = ("early-exit", "multi-exit", "dynamic-depth", "onnx", "offramp")


@dataclass(frozen=True)
class Accuracy:
    """A measured accuracy.

    Attributes:
        of: what was measured, such as `exit 3` or `50% of the FLOPs`.
        split: the part of the data set that it was measured on.
        accuracy: the share of right answers.
    """

    of: str
    split: str
    accuracy: float


def front_matter(manifest: Manifest, name: str, measured: Sequence[Accuracy]) -> str:
    """Return the YAML block at the top of a card: licence, data set, task, tags and accuracies.

    Args:
        manifest: of the bundle.
        name: of the model.
        measured: its accuracies; where nobody measured any, those of its exits on validation images.
    """
    hub = library()
    data_set = manifest.data_set.name
    results = [
        hub.EvalResult(
            task_type=_TASK,
            dataset_type=data_set,
            dataset_name=data_set,
            dataset_split=one.split,
            metric_type="accuracy",
            metric_name=f"accuracy, {one.of}",
            metric_value=round(one.accuracy, 4),
        )
        for one in measured or list(_of_the_exits(manifest))
    ]
    data = hub.ModelCardData(
        license=manifest.licence or "unknown",
        datasets=[data_set] if "/" in data_set else None,
        library_name="offramp",
        pipeline_tag=_TASK,
        tags=list(_TAGS),
        metrics=["accuracy"],
        model_name=name,
        eval_results=results,
    )
    return f"{_EDGE}{data.to_yaml()}\n{_EDGE.rstrip()}"


def with_front_matter(card: str, manifest: Manifest, name: str) -> str:
    """Return a card with a YAML block; one that it has stays."""
    return card if card.startswith(_EDGE) else f"{front_matter(manifest, name, ())}\n\n{card}"


def plain_card(manifest: Manifest, name: str) -> str:
    """Write a card from the manifest alone, for a bundle that nobody measured on test images."""
    full = manifest.exit_flops[-1]
    rows = "\n".join(
        f"| {number} | {flops / 1e6:.2f} | {flops / full:.0%} | {100 * segment.validation_accuracy:.2f} |"
        for number, (flops, segment) in enumerate(
            zip(manifest.exit_flops, manifest.segments, strict=True), start=1
        )
    )
    classes = ", ".join(manifest.classes[:12]) + (", …" if len(manifest.classes) > 12 else "")
    kept = "agrees with the full network %" if manifest.truth == "own" else "validation %"
    return (
        f"# {name}\n\n"
        f"An image classifier with {len(manifest.segments)} exits ({manifest.architecture.name}, "
        f"{manifest.precision}) for Offramp: easy images leave early.\n\n"
        f"| exit | MFLOPs | of the full depth | {kept} |\n| --- | --- | --- | --- |\n{rows}\n\n"
        f"Trained on {manifest.data_set.name}. {len(manifest.classes)} classes: {classes}.\n"
    )


def _of_the_exits(manifest: Manifest) -> Iterator[Accuracy]:
    if manifest.truth == "labels":
        for number, segment in enumerate(manifest.segments, start=1):
            yield Accuracy(f"exit {number}", "validation", segment.validation_accuracy)
