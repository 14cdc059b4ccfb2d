"""A net in fewer bits that keeps its accuracy: tried, held against float, and where it fails, repaired."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from serving.errors import BundleError, EngineError
from training.calibration.collect import Answers
from training.errors import RunError
from training.exporting.graph import Boundary
from training.exporting.int8 import Images, Quantised, cuttable
from training.exporting.int8_fallback import damage, in_float, quantised_layers, title

Accuracies = npt.NDArray[np.float64]
Measure = Callable[[onnx.ModelProto, Sequence[Boundary]], Answers]
"""Serve a net, cut at its boundaries, to the validation images, and return what it answers."""

LARGEST_FLOAT_SHARE = 0.25
"""No more of the layers than this are kept in float: what is left would not be worth its name."""
NAMED_CAUSES = 5
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Lowered:
    """A net in fewer bits, what it answers, and which of its layers stayed in float, the worst first."""

    whole: onnx.ModelProto
    parts: Sequence[Boundary]
    answers: Answers
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bar:
    """The bar for a net in fewer bits.

    Both nets are judged on the validation images that may be chosen by. Those kept for certifying have no say
    in which layers stay in float, or the guarantee would rest on images that a choice was made on.

    Args:
        accuracy: of the float net, [K], on these images.
        max_drop: points of accuracy that it may lose at any exit.
    """

    accuracy: Accuracies
    max_drop: float

    def losses(self, answers: Answers) -> Accuracies:
        """Return the points of accuracy lost per exit, [K]."""
        return 100 * (self.accuracy - answers.fit_accuracy)

    def missed_at(self, answers: Answers) -> list[int]:
        """Return the exits (from 0) that lose too much."""
        return [index for index, lost in enumerate(self.losses(answers)) if lost > self.max_drop + _ROUNDING]

    def verdict(self, answers: Answers) -> str:
        """Say which exit loses most, and how much."""
        losses = self.losses(answers)
        worst = int(losses.argmax())
        return (
            f"{losses[worst]:.2f} points at exit {worst + 1} ({self.accuracy[worst]:.2%} in float, "
            f"{answers.fit_accuracy[worst]:.2%} now, on {int((~answers.certify).sum())} images; "
            f"{self.max_drop:g} allowed)"
        )


def lowered_to_half(whole: onnx.ModelProto, parts: Sequence[Boundary], measure: Measure, bar: Bar) -> Lowered:
    """Hold a net in float16 against the bar.

    Raises:
        RunError: it loses too much, or its values do not fit into float16.
    """
    try:
        lowered = Lowered(whole, parts, measure(whole, parts))
    except (BundleError, EngineError) as error:
        raise RunError(
            f"the net does not run in float16, whose largest number is 65504: {error}. Nothing was written: "
            "export in float32"
        ) from error
    if bar.missed_at(lowered.answers):
        raise RunError(
            f"float16 loses {bar.verdict(lowered.answers)}. Nothing was written: allow more with --max-drop, "
            "or export in float32"
        )
    return lowered


def lowered_to_int8(
    net: Quantised,
    parts: Sequence[Boundary],
    measure: Measure,
    bar: Bar,
    images: Sequence[Images],
    tell: Callable[[str], None],
) -> Lowered:
    """Cut an int8 net at uint8 features; keep in float what costs it too much accuracy.

    Layers are ranked once, by what quantising each of them alone does to the answers of the exits that lost
    too much. Then the worst one is kept in float, the worst two, four and so on, until every exit holds.

    Args:
        net: quantised.
        parts: its boundaries, in float.
        measure: serves the validation images.
        bar: what it has to reach.
        images: the ranking's, uint8 [n, H, W, 3] each.
        tell: takes a sentence on what is going on.

    Raises:
        RunError: it does not reach the bar with a quarter of its layers in float.
    """
    whole, byte_parts = cuttable(net.whole, parts)
    lowered = Lowered(whole, byte_parts, measure(whole, byte_parts))
    missed = bar.missed_at(lowered.answers)
    if not missed:
        return lowered
    tell(f"int8 loses {bar.verdict(lowered.answers)}; looking for the layers that cause it")
    layers = quantised_layers(net)
    harm = damage(net, [parts[index].outputs[0].name for index in missed], images, layers)
    ranked = sorted(harm, key=lambda layer: -harm[layer])
    causes = ", ".join(f"{title(net, layer)} ({harm[layer]:.1e})" for layer in ranked[:NAMED_CAUSES])
    tell(f"quantised alone, these change a probability most on average: {causes}")
    most = math.ceil(LARGEST_FLOAT_SHARE * len(ranked))
    count = 1
    while True:
        kept = ranked[:count]
        whole, byte_parts = cuttable(in_float(net, kept), parts)
        titles = tuple(title(net, layer) for layer in kept)
        lowered = Lowered(whole, byte_parts, measure(whole, byte_parts), titles)
        if not bar.missed_at(lowered.answers):
            return lowered
        if count == most:
            raise RunError(
                f"int8 loses {bar.verdict(lowered.answers)}, even with the {count} worst of its "
                f"{len(ranked)} layers in float: above all {causes}. Nothing was written: allow more with "
                "--max-drop, take more --calibration-images, or export in float32"
            )
        tell(f"with {', '.join(titles)} in float it still loses {bar.verdict(lowered.answers)}")
        count = min(2 * count, most)
