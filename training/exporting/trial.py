"""Serves a net to the validation images before its bundle is written, by the engine that will serve it."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx
from rich.progress import track

from serving.bundle import Manifest, SegmentSpec, write_bundle
from serving.engine.engine import Engine
from training.calibration.collect import (
    Answers,
    Labels,
    Probabilities,
    collect,
    engine_probabilities,
    unknown_calibration,
)
from training.data.batches import Data
from training.data.feeds import Batch
from training.exporting.graph import Boundary, gathering, split_at_boundaries

Check = Callable[[Probabilities, Batch], None]
"""Looks at the answers [n, K, C] to a batch, and raises where they are wrong."""


class Trial:
    """Cuts a net and runs it over a run's validation images.

    Args:
        draft: the manifest, but for accuracies and what the boundaries are.
        data: the run's.
        gather_rows: segments but the first take `rows`.
    """

    def __init__(self, draft: Manifest, data: Data, *, gather_rows: bool) -> None:
        self._draft, self._data, self._gather_rows = draft, data, gather_rows

    def answers(
        self, whole: onnx.ModelProto, parts: Sequence[Boundary], check: Check | None = None
    ) -> Answers:
        """Return what the net answers to the validation images.

        Args:
            whole: at any precision.
            parts: its boundaries.
            check: looks at every batch.
        """
        with tempfile.TemporaryDirectory() as scratch:
            # The engine runs bundles only; this one lives until its own calibration is known.
            draft = self.draft(parts)
            bundle = write_bundle(
                Path(scratch) / "trial",
                draft,
                self.segments(whole, parts),
                unknown_calibration(len(draft.segments)),
            )
            engine = Engine(bundle, threads=0)
            return collect(self._served(engine, check), self._data.split.seed)

    def segments(self, whole: onnx.ModelProto, parts: Sequence[Boundary]) -> list[bytes]:
        """Return the ONNX file of each segment."""
        return split_at_boundaries(whole, self._cut_at(parts))

    def draft(self, parts: Sequence[Boundary]) -> Manifest:
        """Return the manifest with what the segments take and give."""
        segments = [
            spec.model_copy(update={"inputs": part.inputs, "outputs": part.outputs})
            for spec, part in zip(self._draft.segments, self._cut_at(parts), strict=True)
        ]
        return self._draft.model_copy(update={"segments": tuple[SegmentSpec, ...](segments)})

    def _cut_at(self, parts: Sequence[Boundary]) -> Sequence[Boundary]:
        return gathering(parts) if self._gather_rows else parts

    def _served(self, engine: Engine, check: Check | None) -> Iterator[tuple[Probabilities, Labels]]:
        size = self._data.batch_size
        for batch in track(
            self._data.validation(), "calibrating", -(-len(self._data.split.validation) // size)
        ):
            served = engine_probabilities(engine, batch.images.numpy())
            if check is not None:
                check(served, batch)
            yield served, batch.labels.numpy()
