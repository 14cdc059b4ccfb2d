"""Says when a bundle runs in another arithmetic than it was calibrated in, and how far that moves answers.

Confidences depend on the runtime, the precision and, below float32, on the processor's instructions.
Thresholds were fitted to the calibration's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.bundle import Bundle
from serving.bundle.manifest import Arithmetic
from serving.engine.backends.registry import arithmetic_of, calibrated_backend, calibrated_for
from serving.engine.engine import Engine
from serving.engine.rest import Rest, no_rest
from serving.errors import OfframpError
from serving.images.inputs import pixels_of
from serving.interfaces import ScoreArray, Tensors

_CHUNK = 8


@dataclass(frozen=True)
class Differs:
    """What differs between calibration and serving.

    Attributes:
        calibrated: the arithmetic of the calibration.
        served: the engine's.
        images: how many of the bundle's stored images both computed; 0 where that was not possible.
        largest: the largest difference of a confidence on them, at any exit.
        changed: the share of the answers of all exits to them that are another class.
    """

    calibrated: Arithmetic
    served: Arithmetic
    images: int = 0
    largest: float = 0.0
    changed: float = 0.0

    @property
    def only_rounding(self) -> bool:
        """Whether both compute in float32."""
        return self.calibrated.precision == self.served.precision == "float32"

    def __str__(self) -> str:
        """Say it in a sentence, with what to do."""
        text = f"calibrated for {describe(self.calibrated)}, runs on {describe(self.served)}"
        if self.images:
            text += (
                f"; on its {self.images} stored images confidences differ by up to {self.largest:.2g}, and "
                f"{self.changed:.1%} of the exits' answers"
            )
        return text if self.only_rounding else f"{text}; calibrate it there (offramp calibrate --runtime)"


def describe(arithmetic: Arithmetic) -> str:
    """Name an arithmetic: `openvino, bfloat16 (avx512_bf16)`."""
    on = f" ({arithmetic.instruction_set})" if arithmetic.instruction_set else ""
    return f"{arithmetic.runtime}, {arithmetic.precision}{on}"


def differs(calibrated: Arithmetic, served: Arithmetic) -> bool:
    """Whether confidences may differ: by runtime or precision, or by instructions below float32.

    An instruction set that one side does not know says nothing.
    """
    if (calibrated.runtime, calibrated.precision) != (served.runtime, served.precision):
        return True
    sets = {calibrated.instruction_set, served.instruction_set}
    return served.precision not in ("float32", "float16") and len(sets) == 2 and None not in sets


def hold_against_calibration(
    bundle: Bundle, engine: Engine, pause: Rest = no_rest, *, opened: Sequence[Engine] = ()
) -> Differs | None:
    """Compare an engine's arithmetic with that of its bundle's calibration; None where they are the same.

    Where the calibration's can be had here and the bundle has images stored, both compute them.

    Args:
        bundle: what the engine runs.
        engine: warmed up.
        pause: as for `Engine`.
        opened: engines of the bundle that are open already; one that computes as the calibration did saves
            opening another.
    """
    calibrated = calibrated_for(bundle.manifest)
    if not differs(calibrated, engine.arithmetic):
        return None
    told = Differs(calibrated, engine.arithmetic)
    if bundle.samples is None:
        return told
    same = (each for each in opened if not differs(calibrated, each.arithmetic))
    try:
        reference = next(same, None) or _as_calibrated(bundle, pause)
    except OfframpError:
        return told
    if reference is None:
        return told
    images = pixels_of(list(bundle.samples.images), bundle.manifest.preprocessing)
    expected, found = (_answers(bundle, each, images) for each in (reference, engine))
    return Differs(
        calibrated,
        engine.arithmetic,
        images=len(images),
        largest=float(np.abs(expected[0] - found[0]).max()),
        changed=float((expected[1] != found[1]).mean()),
    )


def _as_calibrated(bundle: Bundle, pause: Rest) -> Engine | None:
    """Open a bundle as it was calibrated; None where that is not to be had here."""
    manifest = bundle.manifest
    backend = calibrated_backend(manifest)
    if backend is None or differs(calibrated_for(manifest), arithmetic_of(backend, manifest)):
        return None
    return Engine(bundle, threads=1, pause=pause, backend=backend)


def _answers(
    bundle: Bundle, engine: Engine, images: npt.NDArray[np.uint8]
) -> tuple[ScoreArray, npt.NDArray[np.intp]]:
    """The confidences [n, K] and classes [n, K] of every exit."""
    scorer = bundle.scorer
    scores: list[list[ScoreArray]] = [[] for _ in range(engine.stages)]
    classes: list[list[npt.NDArray[np.intp]]] = [[] for _ in range(engine.stages)]
    for start in range(0, len(images), _CHUNK):
        inputs: Tensors = (images[start : start + _CHUNK],)
        for stage in range(engine.stages):
            probabilities, inputs = engine.run(stage, inputs)
            scores[stage].append(scorer(stage, probabilities))
            classes[stage].append(probabilities.argmax(axis=1))
    return (
        np.stack([np.concatenate(parts) for parts in scores], axis=1),
        np.stack([np.concatenate(parts) for parts in classes], axis=1),
    )
