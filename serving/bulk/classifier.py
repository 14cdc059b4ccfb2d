"""Takes a shard of images through the exits, in batches that depend on the shard alone."""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bulk.ledger import Ledger, Pace
from serving.bundle import Bundle
from serving.engine.backends.registry import calibrated_backend
from serving.engine.batch_limits import kept_rows, most_rows
from serving.engine.engine import Engine
from serving.engine.fast_paths import shorten
from serving.errors import OfframpError
from serving.interfaces import NO_FAST_PATHS, FastPaths, FloatArray, MakeRunStage, Mask, Tensors
from serving.judgements import refuse_unfit
from serving.options import ClassifyOptions, ServingConfig
from serving.planner import Planner
from serving.runtime import MAX_BATCH_BYTES
from serving.scheduler.dispatch import deepest_full
from serving.scheduler.exit_rules import ThresholdRule
from serving.scheduler.request import Constraints, Request, Row
from serving.scheduler.resolver import FinishedRequest
from serving.scheduler.scheduler import Scheduler

SHARD_ROWS = 1024
"""The most images of a shard."""
_MAX_BATCH = 64

_Left = tuple[int, FloatArray]
"""The exit index that a row left at, and the probabilities [C] there."""


@dataclass(frozen=True)
class Answers:
    """The answers to N images.

    Attributes:
        exits: int64 [N], where each left, from 1; 0 where the engine failed on it.
        probabilities: float32 [N, C]; of no use where the engine failed.
        errors: the failures, by row.
        spent_flops: what all of them cost.
    """

    exits: npt.NDArray[np.int64]
    probabilities: FloatArray
    errors: dict[int, str]
    spent_flops: int


class BulkClassifier:
    """A bundle that classifies shards, one at a time.

    The same shard gets the same answers: batches depend on its rows alone, thresholds are the calibration's,
    and no closed loop corrects them.

    Args:
        bundle: what classifies.
        make_run: makes what runs its stages.
        shortcuts: what runs where heads are not needed.
        ask: the promise; its budget is of no use where shards come with a total.

    Raises:
        BudgetError, TermsError: what is asked for cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        make_run: MakeRunStage,
        ask: ClassifyOptions,
        *,
        shortcuts: FastPaths = NO_FAST_PATHS,
    ) -> None:
        self.manifest = bundle.manifest
        rules = ServingConfig(controller=False, brownout=False)
        planner = Planner(bundle, rules, None)
        self.terms = planner.terms(ask, 0.0)
        self._bundle, self._planner = bundle, planner
        self._ledger: Ledger | None = None
        self._by_thresholds = ThresholdRule(bundle.scorer)
        segments = bundle.manifest.segments
        batch = min(most_rows(segments, _MAX_BATCH, MAX_BATCH_BYTES))

        def waiting(stage: int) -> Sequence[Tensors]:
            return self._scheduler.waiting_features(stage)

        self._scheduler: Scheduler[_Left] = Scheduler(
            name=bundle.name,
            exit_flops=bundle.manifest.exit_flops,
            run=make_run(waiting, max_batch=batch),
            decide=self._decide,
            answer=_left,
            capacity=SHARD_ROWS,
            # No row is ever old: a batch runs when it is full, or when no more rows can come.
            dispatch=partial(deepest_full, max_batch=batch, max_age_seconds=math.inf),
            keep_rows=kept_rows(segments, batch, MAX_BATCH_BYTES),
            shortcuts=shortcuts.steps_only,
        )

    @classmethod
    def load(cls, bundle: Bundle, ask: ClassifyOptions, *, threads: int = 0) -> "BulkClassifier":
        """Open a bundle's engine; `threads` compute, one for each core if 0.

        Raises:
            BundleError: it cannot be used.
            BudgetError, TermsError: what is asked for cannot be used.
        """
        refuse_unfit(bundle)
        engine = Engine(bundle, threads=threads, backend=calibrated_backend(bundle.manifest))
        return cls(bundle, engine.make_run, ask, shortcuts=shorten(bundle, engine))

    def pace(self) -> Pace:
        """Return what ledgers of this model go by."""
        calibration, manifest = self._bundle.calibration, self._bundle.manifest
        score = calibration.score(manifest.calibration.confidence)[calibration.fit]
        return Pace(self._planner.table, score, manifest.exit_flops)

    def classify(self, images: npt.NDArray[np.uint8], ledger: Ledger | None = None) -> Answers:
        """Classify a shard.

        Args:
            images: uint8 [N, H, W, 3].
            ledger: decides in place of the thresholds, so that the images cost its total.
        """
        terms = self.terms if ledger is None else Constraints(self.terms.budget_flops, (), "hard")
        self._ledger = ledger
        # A request for each image: one on which the engine fails does not take others along.
        requests: list[Request[_Left]] = [
            self._scheduler.submit((images[row : row + 1],), terms) for row in range(len(images))
        ]
        while self._scheduler.step():
            pass
        return self._answers([request.future for request in requests], ledger)

    def _answers(self, futures: Sequence["Future[_Left]"], ledger: Ledger | None) -> Answers:
        exits = np.zeros(len(futures), np.int64)
        probabilities = np.zeros((len(futures), len(self.manifest.classes)), np.float32)
        errors: dict[int, str] = {}
        for row, future in enumerate(futures):
            error = future.exception()
            if error is None:
                exit_index, probabilities[row] = future.result()
                exits[row] = exit_index + 1
            elif isinstance(error, OfframpError):
                errors[row] = str(error)
            else:
                raise error
        costs = np.array((0, *self.manifest.exit_flops), np.int64)
        spent = int(costs[exits].sum()) if ledger is None else ledger.spent_flops
        return Answers(exits, probabilities, errors, spent)

    def _decide(self, stage: int, rows: Sequence[Row], probabilities: FloatArray) -> Mask:
        if self._ledger is None:
            return self._by_thresholds(stage, rows, probabilities)
        return self._ledger.decide(stage, np.asarray(self._bundle.scorer(stage, probabilities), np.float64))


def _left(requests: Sequence[FinishedRequest]) -> list[Any]:
    return [(request.exits[0], request.probabilities[0]) for request in requests]
