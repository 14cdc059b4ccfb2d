"""A bundle's model card, as Markdown: all numbers come from the manifest and from a measurement."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from serving.bundle import Bundle, Manifest
from serving.bundle.served_policy import expectation, served_policy
from serving.hub.card import Accuracy, front_matter
from serving.policy.risk import share_interval
from training.evaluation.areas import area_line
from training.evaluation.curves import Point
from training.evaluation.evaluation import Evaluation
from training.evaluation.failure import QUALITY_HEADS, quality_rows

BUDGETS = (0.25, 0.4, 0.5, 0.6, 0.75, 1.0)
"""The budgets of the card, as shares of the full depth; those under the cheapest exit are left out."""

DATA = {
    "cifar10": "CIFAR-10: 60,000 colour photographs of 32×32 pixels in ten classes (Krizhevsky, *Learning "
    "Multiple Layers of Features from Tiny Images*, 2009). Its publishers state no licence. It is a labelled "
    "part of the 80 Million Tiny Images, which were gathered from the web and withdrawn in 2020: use it, and "
    "models trained on it, for research and demonstration.",
    "cifar100": "CIFAR-100: 60,000 colour photographs of 32×32 pixels in a hundred classes (Krizhevsky, "
    "2009). Its publishers state no licence; it comes from the same images as CIFAR-10: for research and "
    "demonstration.",
    "digits": "scikit-learn's 1,797 handwritten digits of 8×8 pixels (Alpaydin and Kaynak, UCI, 1998), CC BY "
    "4.0.",
}
"""Remarks on data sets, by the last part of their name."""


def card_budgets(bundle: Bundle) -> tuple[str, ...]:
    """Return the budgets that a card shows, as an evaluation takes them."""
    cheapest, *_, full = bundle.manifest.exit_flops
    return tuple(f"{share * full!r}" for share in BUDGETS if share * full >= cheapest)


def write_card(bundle: Bundle, evaluation: Evaluation) -> Path:
    """Write a bundle's card and the figures behind it, `evaluation.json`, into its folder.

    Args:
        bundle: where they go.
        evaluation: of the bundle on test images, at `card_budgets` among others.

    Returns:
        The card's file.
    """
    wanted = {float(budget) for budget in card_budgets(bundle)}
    points = [point for point in evaluation.curve if point.budget_flops in wanted]
    (bundle.folder / "evaluation.json").write_text(json.dumps(evaluation.to_json(), indent=1) + "\n")
    file = bundle.folder / "README.md"
    file.write_text(card(bundle, evaluation, points))
    return file


def card(bundle: Bundle, evaluation: Evaluation, budgets: Sequence[Point]) -> str:
    """Write the card of a bundle as Markdown.

    Args:
        bundle: what it describes.
        evaluation: of the bundle, on test images.
        budgets: a few budgets, measured on the same images.
    """
    manifest = bundle.manifest
    data = DATA.get(manifest.data_set.name.rpartition("/")[2], f"{manifest.data_set.name}.")
    blocks = (
        front_matter(manifest, bundle.name, list(_measured(evaluation, budgets))),
        f"# {bundle.name}",
        f"An image classifier with {_exits(manifest)} ({manifest.architecture.name}, "
        f"{manifest.precision}, {_megabytes(bundle)} MB) for [Offramp](../../README.md): easy images leave "
        "early.",
        "## Accuracy",
        f"{evaluation.images:,} {evaluation.split} images of {evaluation.data_set}, computed by the serving "
        "engine. "
        "Every image at one exit:",
        _table(_exit_heads(manifest), _exit_rows(bundle, evaluation)),
        f"Leaving early under a budget ({manifest.calibration.policy.name} thresholds on "
        f"{manifest.calibration.confidence}, fitted on {evaluation.fitted_on}):",
        _table(
            (
                "budget",
                "MFLOPs",
                "spent MFLOPs",
                "accuracy %",
                "95%",
                "planned %",
                "95%",
                "share of each exit %",
            ),
            _budget_rows(bundle, evaluation, budgets),
        ),
        f"*Planned* is what `/models/NAME/plan` expects, from {_held_out(bundle)}. Every interval is of the "
        "images that it was measured on: another set of images differs by about that much, at all budgets "
        "alike, since all of them rest on the same images.",
        "Confidence as a sign of each exit's failures (AUROC: a right answer is surer than a wrong one; "
        "AURC: mean error of the surest images; ECE: of the largest probability), and its answers beside the "
        "last exit's (*overthinking*: right here, wrong there):",
        _table(QUALITY_HEADS, iter(quality_rows(evaluation.quality))),
        f"{100 * (evaluation.overthinking or 0):.2f}% of the images are right at some exit and wrong at the "
        "last." + (f" {_sentence(area_line(evaluation.areas))}" if evaluation.areas else ""),
        "## Data",
        f"{data} {_learned(manifest)}; {manifest.data_set.validation_images or 0:,} were kept to choose "
        f"thresholds on.{_shown(bundle)}",
        "## Recipe",
        "```json\n"
        + json.dumps({"method": manifest.method.name, **manifest.method.options}, indent=1)
        + "\n```",
        f"Architecture: `{json.dumps(manifest.architecture.options)}`. Code: `{manifest.git_revision}`. "
        + ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
        + ".",
        "## Limits",
        f"Every image is given one of {len(manifest.classes)} classes ({', '.join(manifest.classes[:12])}"
        f"{', …' if len(manifest.classes) > 12 else ''}), whatever it shows. Images are scaled to "
        f"{manifest.preprocessing.width}×{manifest.preprocessing.height} pixels. The figures are of one "
        "training run; budgets hold on average for images like those above, and `/models/NAME/health` says "
        "when they are not like them. Not for decisions about people.",
        f"Remade by `offramp card exported_models/{bundle.name}`.",
    )
    return "\n\n".join(blocks) + "\n"


def _exits(manifest: Manifest) -> str:
    """How many exits there are, and which of those trained, where some were left out."""
    kept = manifest.architecture.options.get("exits_kept")
    of = f" (numbers {', '.join(map(str, kept))} of those trained)" if isinstance(kept, list) else ""
    return f"{len(manifest.segments)} exits{of}"


def _measured(evaluation: Evaluation, budgets: Sequence[Point]) -> Iterator[Accuracy]:
    for point in budgets:
        share = point.budget_flops / evaluation.exit_flops[-1]
        yield Accuracy(f"{share:.0%} of the FLOPs", evaluation.split, point.accuracy)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _megabytes(bundle: Bundle) -> str:
    sizes = (bundle.segment_path(index).stat().st_size for index in range(len(bundle.manifest.segments)))
    return f"{sum(sizes) / 1e6:.1f}"


def _exit_heads(manifest: Manifest) -> Sequence[str]:
    held_against = ("validation, as float32 %",) if manifest.float_validation_accuracy else ()
    original = ("of the original %",) if manifest.original_flops else ()
    kept = "agrees with the full network %" if manifest.truth == "own" else "validation %"
    return ("exit", "MFLOPs", *original, "accuracy %", "95%", kept, "95%", *held_against)


def _learned(manifest: Manifest) -> str:
    """Say what learned from the images."""
    images = f"{manifest.data_set.train_images or 0:,} images"
    if not manifest.original_flops:
        return f"Trained on {images}"
    together = manifest.method.options.get("ensemble")
    combined = "; exits answer by an ensemble of the exits so far" if together else ""
    if manifest.method.name == "none":
        return f"Nothing was trained: the networks are used as they were{combined}"
    return f"Heads learned from {images}; the network itself is used as it was{combined}"


def _shown(bundle: Bundle) -> str:
    """Say whose images come with the bundle."""
    if bundle.samples is None:
        return ""
    return (
        f" {len(bundle.samples.images)} of these, drawn at random, are in `samples.npz`, to try the network "
        "with; they are the data set's, and its licence holds for them, not that of the network."
    )


def _interval(accuracy: float, images: int) -> str:
    low, high = share_interval(round(accuracy * images), images)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _exit_rows(bundle: Bundle, evaluation: Evaluation) -> Iterator[Sequence[str]]:
    manifest, images = bundle.manifest, len(bundle.calibration.labels)
    held_against, original = manifest.float_validation_accuracy, manifest.original_flops
    for index, segment in enumerate(manifest.segments):
        row = (
            f"{index + 1}",
            f"{evaluation.exit_flops[index] / 1e6:.2f}",
            *([f"{100 * evaluation.exit_flops[index] / original:.1f}"] if original else []),
            f"{100 * evaluation.exit_accuracy[index]:.2f}",
            _interval(evaluation.exit_accuracy[index], evaluation.images),
            f"{100 * segment.validation_accuracy:.2f}",
            _interval(segment.validation_accuracy, images),
        )
        yield (*row, f"{100 * held_against[index]:.2f}") if held_against else row


def _held_out(bundle: Bundle) -> str:
    kept = int(bundle.calibration.certify.sum())
    return f"{kept:,} validation images that no threshold was fitted on" if kept else "cross-fitting"


def _budget_rows(bundle: Bundle, evaluation: Evaluation, points: Sequence[Point]) -> Iterator[Sequence[str]]:
    policy = served_policy(bundle.manifest, bundle.calibration)
    judged = expectation(bundle.manifest, bundle.calibration)
    full = points[-1].budget_flops
    for point in points:
        planned = judged(policy.plan(point.budget_flops))
        yield (
            f"{point.budget_flops / full:.0%}",
            f"{point.budget_flops / 1e6:.2f}",
            f"{point.spent_flops / 1e6:.2f}",
            f"{100 * point.accuracy:.2f}",
            _interval(point.accuracy, evaluation.images),
            f"{100 * planned.expected_accuracy:.2f}",
            _interval(planned.expected_accuracy, planned.images),
            " ".join(f"{100 * share:.0f}" for share in point.shares),
        )


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
