"""A loaded model: images in, answers under a FLOPs budget out, with or without HTTP.

with Model.load("exported_models/digits") as model:
    answers = model.classify(images, budget="50%")  # uint8 [N, H, W, 3]
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from serving.answer import Answer
from serving.budget import affordable, parse_budget
from serving.bundle import Bundle, read_bundle
from serving.confidence import FloatArray, max_probability
from serving.deciders import BudgetDecider
from serving.dispatch import deepest_full
from serving.engine import Engine
from serving.errors import ImageError
from serving.events import Listener
from serving.manifest import Manifest
from serving.policies import served_policy
from serving.rows import Request, Terms
from serving.scheduler import Scheduler
from serving.thresholds import Plan
from serving.worker import Worker

__all__ = ["DEFAULT_BUDGET", "Answer", "Budget", "Model"]

DEFAULT_BUDGET = "100%"
_PLANS_KEPT = 512

Budget = str | float


class Model:
    """A bundle, an engine that runs it, and a worker that shares the engine among all callers.

    Every method may be called from any thread. Use it as a context manager, or call `close`.

    Args:
        bundle: what to serve.
        engine: runs its segments.
        max_queue_rows: how many images may wait before requests are refused.
        max_batch: the most images in one run of a stage.
        max_age_seconds: an image that waits longer for a deeper stage goes before new ones.
        default_budget: of requests that name none.
        emit: gets the events of `serving.events`, from the worker's thread as a rule.

    Raises:
        BudgetError: the default budget cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        max_queue_rows: int = 1024,
        max_batch: int = 32,
        max_age_seconds: float = 0.05,
        default_budget: str = DEFAULT_BUDGET,
        emit: Listener | None = None,
    ) -> None:
        self.name = bundle.name
        self.manifest: Manifest = bundle.manifest
        self.exit_flops = bundle.manifest.exit_flops
        self.providers = engine.providers
        self.default_budget = default_budget
        self._max_queue_rows = max_queue_rows
        self._policy = served_policy(bundle.manifest, bundle.calibration)
        self._offer = lru_cache(maxsize=_PLANS_KEPT, typed=True)(self._solve)
        self._offer(default_budget)
        scheduler = Scheduler(
            name=self.name,
            exit_flops=self.exit_flops,
            run=engine.run,
            decide=BudgetDecider(bundle.scorer),
            answer=self._answers,
            capacity=max_queue_rows,
            dispatch=partial(deepest_full, max_batch=max_batch, max_age_seconds=max_age_seconds),
            emit=emit,
            keep_rows=4 * max_batch,
        )
        self._worker = Worker(scheduler, name=self.name, emit=emit)

    @classmethod
    def load(
        cls,
        bundle: Bundle | Path | str,
        *,
        threads: int = 0,
        providers: Sequence[str] | None = None,
        strict: bool = False,
        max_queue_rows: int = 1024,
        max_batch: int = 32,
        default_budget: str = DEFAULT_BUDGET,
        emit: Listener | None = None,
    ) -> Self:
        """Load a bundle, or the folder of one.

        Args:
            bundle: a bundle or its folder.
            threads: threads that compute; one for each core if 0.
            providers: ONNX Runtime's execution providers (see `Engine`).
            strict: every provider asked for must be had.
            max_queue_rows: how many images may wait before requests are refused.
            max_batch: the most images in one run of a stage.
            default_budget: of requests that name none.
            emit: gets the events of `serving.events`.

        Raises:
            BundleError: the bundle cannot be used; the text says why.
            EngineError: a provider is missing and `strict` is set.
            BudgetError: the default budget cannot be used.
        """
        whole = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
        engine = Engine(whole, threads=threads, providers=providers, strict=strict)
        return cls(
            whole,
            engine,
            max_queue_rows=max_queue_rows,
            max_batch=max_batch,
            default_budget=default_budget,
            emit=emit,
        )

    @property
    def alive(self) -> bool:
        """Whether requests are answered."""
        return self._worker.alive

    def plan(self, budget: Budget | None = None) -> Plan:
        """What a budget buys: solved in milliseconds, remembered for the next time.

        Args:
            budget: text such as "150MFLOPs" or "50%", or FLOPs per image; the default budget if None.

        Raises:
            BudgetError: no such budget, or none that buys an exit.
        """
        return self._offer(self.default_budget if budget is None else budget)[0]

    def submit(self, images: npt.NDArray[np.uint8], budget: Budget | None = None) -> Request[list[Answer]]:
        """Admit images without waiting for the answers.

        Args:
            images: uint8 [N, H, W, 3] as `serving.preprocess` makes them, or one, [H, W, 3]; not to be
                changed while they are under way.
            budget: as for `plan`.

        Returns:
            A request, whose `future` gets one answer per image, and whose `cancel` drops it.

        Raises:
            ImageError: not such an array.
            BudgetError: as for `plan`.
            BodyTooLargeError, OverloadedError, ClosedError: not admitted.
        """
        stacked = self._stacked(images)
        _, terms = self._offer(self.default_budget if budget is None else budget)
        return self._worker.submit((stacked,), terms)

    def classify(self, images: npt.NDArray[np.uint8], budget: Budget | None = None) -> list[Answer]:
        """Answer images, however many: more than the queue holds go in one queueful after the other.

        Args:
            images: uint8 [N, H, W, 3], or one, [H, W, 3].
            budget: as for `plan`.

        Raises:
            ImageError, BudgetError, OverloadedError, ClosedError: as for `submit`.
            EngineError: the engine failed on them.
        """
        stacked = self._stacked(images)
        answers: list[Answer] = []
        for start in range(0, len(stacked), self._max_queue_rows):
            answers += self.submit(stacked[start : start + self._max_queue_rows], budget).future.result()
        return answers

    def close(self, drain: bool = True, timeout_seconds: float | None = None) -> None:
        """Stop, by default after answering what was admitted (see `Worker.close`)."""
        self._worker.close(drain, timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=error is None)

    def _solve(self, budget: Budget) -> tuple[Plan, Terms]:
        if isinstance(budget, str):
            budget_flops = parse_budget(budget, self.exit_flops)
        else:
            budget_flops = min(affordable(float(budget), self.exit_flops), float(self.exit_flops[-1]))
        plan = self._policy.plan(budget_flops)
        return plan, Terms(plan.budget_flops, tuple(plan.thresholds.tolist()))

    def _stacked(self, images: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        preprocessing = self.manifest.preprocessing
        shape = (preprocessing.height, preprocessing.width, 3)
        if not isinstance(images, np.ndarray):
            raise ImageError(f"expected a NumPy array of images, found {type(images).__name__}")
        stacked = images[None] if images.ndim == 3 else images
        if stacked.dtype != np.uint8 or stacked.shape[1:] != shape or not len(stacked):
            height, width, _ = shape
            raise ImageError(
                f"model {self.name!r} expected images uint8 [N > 0, {height}, {width}, 3], "
                f"found {images.dtype} {list(images.shape)}"
            )
        return stacked

    def _answers(self, terms: Terms, exits: Sequence[int], probabilities: FloatArray) -> list[Answer]:
        likeliest = probabilities.argmax(axis=1).tolist()
        confidences = max_probability(probabilities).tolist()
        return [
            Answer(
                class_name=self.manifest.classes[class_index],
                class_index=class_index,
                confidence=confidence,
                exit=exit_index + 1,
                flops=self.exit_flops[exit_index],
                budget_flops=terms.budget_flops,
                model=self.name,
            )
            for class_index, confidence, exit_index in zip(likeliest, confidences, exits, strict=True)
        ]
