"""A loaded model: images in, answers under a FLOPs budget out, with or without HTTP.

with Model.load("exported_models/cifar10-ladder-int8") as model:
    answers = model.classify(images, budget="50%")  # uint8 [N, H, W, 3]
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from serving.answer import Answer
from serving.awaiting import admitted, stream
from serving.bundle import Bundle
from serving.bundle.manifest import Manifest
from serving.engine.arithmetic import Differs
from serving.engine.backends.names import AskedPrecision, AskedRuntime
from serving.engine.batch_limits import most_rows
from serving.engine.choosing import EngineOptions, open_engine
from serving.engine.device_stages import padded_sizes
from serving.engine.engine import Engine
from serving.engine.fast_paths import shorten
from serving.engine.providers import ON_THE_CPU, DeviceFeatures
from serving.engine.rest import Rest, no_rest
from serving.errors import TermsError
from serving.events import Listener
from serving.hub.bundles import open_bundle
from serving.images.arrays import image_shape, stack
from serving.images.inputs import Images, OneImage, pixels_of
from serving.interfaces import NO_FAST_PATHS, FastPaths
from serving.judgements import refuse_unfit
from serving.monitoring.health import Health
from serving.options import Budget, ClassifyOptions, ServingConfig
from serving.policy.budget import format_flops
from serving.policy.guarantee import Guaranteed
from serving.policy.plan import Plan
from serving.rich_display import Bar, card, kept
from serving.runtime import Runtime, RuntimeOptions
from serving.scheduler.cores import Cores
from serving.scheduler.cost import CostModel, measure
from serving.scheduler.deadlines import refuse_if_late
from serving.scheduler.request import Request

__all__ = ["Answer", "Budget", "ClassifyOptions", "Model", "RuntimeOptions", "ServingConfig"]

_OPTIONS = RuntimeOptions()
OnSubmit = Callable[[npt.NDArray[np.uint8], ClassifyOptions, Request[list[Answer]]], None]


class Model:
    """A bundle, an engine that runs it, and a worker that shares the engine among all callers.

    Every method may be called from any thread. Use it as a context manager, or call `close`.

    Args:
        bundle: what to serve.
        engine: runs its segments.
        options: the default budget, how promises are kept, sizes of batches and queues, clock and listener.
        cost: how long stages take, for deadlines; without one it is learned from the first batches.
        shortcuts: what can be run where heads are not needed.

    Attributes:
        identity: that of the bundle (`Manifest.identity`).
        on_submit: told of the images, the options and the request, of every request that is admitted.
        arithmetic: what it computes with.
        exit_seconds: [K] seconds of compute per image of leaving at each exit, as they were measured when the
            model was loaded; empty where its stages were not timed.
        runtime_milliseconds: per image at full depth, by runtime; empty where there was nothing to choose.
        arithmetic_differs: how that differs from the calibration's; None where it does not.

    Raises:
        BudgetError, TermsError: a default of the rules cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        options: RuntimeOptions = _OPTIONS,
        *,
        cost: CostModel | None = None,
        shortcuts: FastPaths = NO_FAST_PATHS,
    ) -> None:
        self.name = bundle.name
        self.manifest: Manifest = bundle.manifest
        self.identity = bundle.manifest.identity
        self.exit_flops = bundle.manifest.exit_flops
        self.samples = bundle.samples
        self.providers, self.missing_providers = engine.providers, engine.missing
        self.features_on = engine.features_on
        self.arithmetic = engine.arithmetic
        self.runtime_milliseconds: Mapping[str, float] = {}
        self.arithmetic_differs: Differs | None = None
        self.on_submit: OnSubmit | None = None
        self._image_shape = image_shape(bundle.manifest.preprocessing)
        self._max_queue_rows = options.max_queue_rows
        self._clock = options.clock
        self._machinery = Runtime(
            bundle, engine.make_run, options, cost=cost or CostModel(engine.stages), shortcuts=shortcuts
        )
        self.exit_seconds = self._machinery.exit_seconds
        self._offers, self._worker = self._machinery.offers, self._machinery.worker

    @classmethod
    def load(
        cls,
        bundle: Bundle | Path | str,
        *,
        threads: int = 0,
        providers: Sequence[str] | None = None,
        strict: bool = False,
        device_features: DeviceFeatures = "auto",
        runtime: AskedRuntime = "auto",
        inference_precision: AskedPrecision = "auto",
        max_queue_rows: int = _OPTIONS.max_queue_rows,
        max_batch: int = _OPTIONS.max_batch,
        max_batch_bytes: int = _OPTIONS.max_batch_bytes,
        rules: ServingConfig = _OPTIONS.rules,
        emit: Listener | None = None,
        warm_up_seconds: float = 300.0,
        links_below: Path | None = None,
        name: str | None = None,
        pause: Rest = no_rest,
        cores: Cores | None = None,
    ) -> Self:
        """Load a bundle, from its folder or from the Hub, and time its stages.

        Args:
            bundle: a bundle, its folder, or `hf://OWNER/NAME[@REVISION]` on the Hugging Face Hub.
            threads: threads that compute; one for each core if 0.
            providers: ONNX Runtime's execution providers (see `Engine`).
            strict: every provider wanted must be had.
            device_features: whether features stay on the provider's device (see `Engine`).
            runtime: what runs it; `auto` times those that are installed and fit, and takes the quickest.
            inference_precision: what a network in float32 is computed in; `auto` is the calibration's.
            max_queue_rows: how many images may wait before requests are refused.
            max_batch: the most images in one run of a stage.
            max_batch_bytes: the most bytes that go into a stage and come out of it in one run.
            rules: the default budget, and how promises are kept.
            emit: gets the events of `serving.events`.
            warm_up_seconds: how long the first runs may take together.
            links_below: the folder that links of the bundle's files may not lead out of (see `read_bundle`).
            name: in requests; the bundle's own name if None.
            pause: called after each of the first runs, with its seconds; `serving.engine.rest` has one that
                leaves the cores to models that answer requests.
            cores: that it computes on, in turns with the other models that were given them; models on a GPU
                take no turns.

        Raises:
            BundleError, HubError: the bundle cannot be used; the text says why.
            EngineError: a provider is missing and `strict` is set, `device_features` is on and cannot be, or
                the runtime or the precision is not to be had.
            BudgetError, TermsError: a default of the rules cannot be used.
        """
        whole = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, links_below, name)
        refuse_unfit(whole)
        opened = open_engine(
            whole,
            EngineOptions(
                runtime=runtime,
                inference_precision=inference_precision,
                threads=threads,
                providers=providers,
                strict=strict,
                device_features=device_features,
                warm_up_seconds=warm_up_seconds,
                pause=pause,
            ),
        )
        engine = opened.engine
        shortcuts = shorten(whole, engine)
        largest = min(most_rows(whole.manifest.segments, max_batch, max_batch_bytes))
        run = engine.make_run(lambda stage: (), max_batch=max_batch)
        sizes = sorted({min(size, largest) for size in padded_sizes(largest)})
        shape = image_shape(whole.manifest.preprocessing)
        cost = measure(
            run,
            shape,
            engine.stages,
            sizes,
            clock=time.monotonic,
            whole=shortcuts.whole,
            pause=engine.pause,
            processor=time.process_time,
        )
        engine.release_buffers()
        options = RuntimeOptions(
            rules=rules,
            max_queue_rows=max_queue_rows,
            max_batch=max_batch,
            max_batch_bytes=max_batch_bytes,
            emit=emit,
            cores=cores if engine.providers in ON_THE_CPU else None,
            threads=engine.threads,
        )
        model = cls(whole, engine, options, cost=cost, shortcuts=shortcuts)
        model.runtime_milliseconds = opened.milliseconds
        model.arithmetic_differs = opened.differs
        return model

    @property
    def alive(self) -> bool:
        """Whether requests are answered."""
        return self._worker.alive

    @property
    def waiting_rows(self) -> int:
        """How many images were admitted and are not answered."""
        return self._worker.waiting_rows

    @property
    def stalled_seconds(self) -> float:
        """For how long there has been work and none of it was finished; 0 where there is none."""
        return self._worker.stalled_seconds

    def look_after(self) -> None:
        """Do what is due also while nobody asks; to be called every second or so, from any thread."""
        if self._machinery.brownout is not None:
            self._machinery.brownout.look()

    def give_up(self) -> None:
        """Fail every request that is in, and go on: for a model whose engine does not come back."""
        self._worker.give_up()

    def plan(self, budget: Budget | None = None) -> Plan:
        """Accuracy and cost under a budget, on held-out calibration images; takes milliseconds, is cached.

        Args:
            budget: text such as "150MFLOPs", "50%" or "8ms", or FLOPs per image; the default budget if None.

        Raises:
            BudgetError: no such budget, or none that buys an exit.
        """
        return self._offers.plan(budget)

    def guarantee(self, max_drop: float, budget: Budget | None = None) -> Guaranteed:
        """The cheapest thresholds proven to lose at most `max_drop`, and the certificate; remembered, too.

        Args:
            max_drop: the share of answers that leaving early may lose, in (0, 1).
            budget: a cap on what they may cost.

        Raises:
            BudgetError: no such budget, or the guarantee costs more.
            TermsError: out of range, or there are too few certifying images.
        """
        return self._offers.guarantee(max_drop, budget)

    def submit(
        self,
        images: npt.NDArray[np.uint8],
        ask: ClassifyOptions | Budget | None = None,
        *,
        received_at: float | None = None,
        shadow: bool = False,
        told: Callable[[int, int], None] = lambda place, class_index: None,
    ) -> Request[list[Answer]]:
        """Admit images without waiting for the answers.

        Args:
            images: uint8 [N, H, W, 3] as `serving.images.decode` makes them, or one, [H, W, 3]; not to be
                changed while they are under way.
            ask: what is asked for; a budget alone, as for `plan`, asks for no more than that.
            received_at: the clock's seconds (`time.monotonic` as a rule) from which a deadline counts; now
                if None.
            shadow: whether nobody waits for the answers, which then count neither as spent nor as drift.
            told: told, for each image of the random sample that is run to the end, of its place and of the
                class that the last exit gives to it; from the worker's thread.

        Returns:
            A request, whose `future` gets one answer per image, and whose `cancel` drops it.

        Raises:
            ImageError: not such an array.
            BudgetError, TermsError: what is asked for cannot be used.
            DeadlineError: the deadline is over already; later it is the future that gets one.
            BodyTooLargeError, OverloadedError, ClosedError: not admitted.
        """
        stacked = stack(images, self.name, self._image_shape)
        wanted = ask if isinstance(ask, ClassifyOptions) else ClassifyOptions(budget=ask)
        now = self._clock()
        terms = self._offers.terms(wanted, now if received_at is None else received_at)
        refuse_if_late(terms, now)
        explained = terms.kind == "explain"
        if explained and len(stacked) != 1:
            raise TermsError(f"explain is of one image a request, found {len(stacked)}")
        barrier = explained or terms.kind == "hard"
        if shadow:
            return self._worker.submit((stacked,), replace(terms, kind="shadow"), barrier=barrier)
        request = self._worker.submit((stacked,), terms, barrier=barrier)
        if self.on_submit is not None:
            self.on_submit(stacked, wanted, request)
        if explained:
            return request
        by_thresholds = terms.kind in ("average", "guarantee")
        thresholds = terms.thresholds if by_thresholds else ()
        self._machinery.watcher.follow(stacked, request.future, thresholds, told)
        return request

    def classify(self, images: Images, budget: ClassifyOptions | Budget | None = None) -> list[Answer]:
        """Answer images, however many: more than the queue holds go in one queueful after the other.

        Args:
            images: a path, an encoded image (bytes), a Pillow image, an array uint8 [H, W, 3], or a list of
                such; or an array uint8 [N, H, W, 3]. Other sizes than the model's are resized as its bundle
                says.
            budget: a budget, as for `plan`, or all that is asked for, as for `submit`.

        Returns:
            One answer per image.

        Raises:
            ImageError: one that cannot be read; in a list it is named by its index.
            BudgetError, TermsError, OverloadedError, ClosedError: as for `submit`.
            DeadlineError: at the deadline an image had no answer.
            EngineError: the engine failed on them.
        """
        started = self._clock()
        answers: list[Answer] = []
        for part in self._queuefuls(images):
            answers += _pictured(self.submit(part, budget, received_at=started).future.result(), part)
        return answers

    async def classify_async(
        self, images: Images, budget: ClassifyOptions | Budget | None = None
    ) -> list[Answer]:
        """Answer images as `classify` does, without holding up the event loop.

        Images are read in a thread. When the task is cancelled, the images are dropped at the stage they have
        reached.

        Args:
            images: as for `classify`.
            budget: as for `classify`.

        Raises:
            OfframpError: as for `classify`.
        """
        started = self._clock()
        answers: list[Answer] = []
        for part in await asyncio.to_thread(self._queuefuls, images):
            request = await admitted(partial(self.submit, part, budget, received_at=started))
            # A cancellation cancels the request, too.
            found: list[Answer] = await asyncio.wrap_future(request.future)
            answers += _pictured(found, part)
        return answers

    def stream(
        self,
        images: Iterable[OneImage],
        budget: ClassifyOptions | Budget | None = None,
        *,
        ahead: int = 64,
    ) -> Iterator[Answer]:
        """Answer images one after the other, from a source however long, in its order.

        Up to `ahead` images are under way at a time, so that batches fill; no more of the source is read than
        that. When the iterator is closed, or the source fails, what is under way is dropped.

        Args:
            images: each as for `classify`.
            budget: as for `classify`; a deadline counts for each image from when it is read.
            ahead: how many images may be under way, 1 or more.

        Yields:
            An answer for each image.

        Raises:
            ValueError: `ahead` is not 1 or more.
            OfframpError: as for `classify`.
        """
        if ahead < 1:
            raise ValueError(f"expected ahead of 1 or more, found {ahead}")
        return stream(
            images,
            read=lambda image: pixels_of([image], self.manifest.preprocessing),
            submit=lambda pixels: self.submit(pixels, budget),
            ahead=min(ahead, self._max_queue_rows),
        )

    def _queuefuls(self, images: Images) -> list[npt.NDArray[np.uint8]]:
        """Read images, and divide them into as many as the queue holds."""
        stacked = pixels_of(images, self.manifest.preprocessing)
        starts = range(0, len(stacked), self._max_queue_rows)
        return [stacked[start : start + self._max_queue_rows] for start in starts]

    def __repr__(self) -> str:
        """Name, exits and their cost, precision, and what it runs on."""
        costs = [format_flops(flops) for flops in (self.exit_flops[0], self.exit_flops[-1])]
        size = self.manifest.preprocessing
        state = "" if self.alive else ", closed"
        return (
            f"<Model {self.name!r}: {len(self.exit_flops)} exits, {' to '.join(costs)}, "
            f"{len(self.manifest.classes)} classes, {size.height}x{size.width}, {self.manifest.precision}, "
            f"{self.providers[0]}{state}>"
        )

    def _repr_html_(self) -> str:
        """Show the model in a notebook: its exits, their cost, their accuracy on validation images."""
        size, full = self.manifest.preprocessing, self.exit_flops[-1]
        facts = [
            f"{self.manifest.architecture.name}, {self.manifest.precision}, "
            f"{len(self.manifest.classes)} classes, images of {size.height} × {size.width}",
            f"{', '.join(self.providers)}{'' if self.alive else '; closed'}",
        ]
        right = "as the last exit" if self.manifest.truth == "own" else "right"
        bars = []
        for number, (flops, segment) in enumerate(
            zip(self.exit_flops, self.manifest.segments, strict=True), 1
        ):
            words = f"{format_flops(flops)} · {segment.validation_accuracy:.1%} {right}"
            bars.append(Bar(f"exit {number}", flops / full, words))
        return card(self.name, facts, bars)

    def health(self) -> Health:
        """The model's health: corrections of budgets, drift, agreement of early answers."""
        return self._machinery.health()

    def image_seconds(self) -> tuple[float, ...]:
        """Seconds of each stage for an image, in batches of the cheapest size; 0 where it never ran."""
        return self._machinery.image_seconds()

    def state(self) -> dict[str, dict[str, float]]:
        """The state of the closed loop, as plain numbers; empty if it is off."""
        controller = self._machinery.controller
        return {} if controller is None else controller.state()

    def restore(self, state: dict[str, dict[str, float]]) -> None:
        """Go on from what `state` returned, if the loop is closed.

        Raises:
            ValueError: it is not of that form.
        """
        if self._machinery.controller is not None:
            self._machinery.controller.restore(state)

    def close(self, drain: bool = True, timeout_seconds: float | None = None) -> None:
        """Stop, by default after answering what was admitted (see `Worker.close`)."""
        self._worker.close(drain, timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=error is None)


def _pictured(answers: list[Answer], images: npt.NDArray[np.uint8]) -> list[Answer]:
    """Keep the image of the one answer that was explained; of others the memory would add up."""
    if len(answers) == 1 and answers[0].exits is not None:
        return [replace(answers[0], image=kept(images[0]))]
    return answers
