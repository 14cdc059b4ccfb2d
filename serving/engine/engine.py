"""Runs the segments of a bundle with one of the runtimes: arrays in, probabilities and features out."""

from collections.abc import Sequence

import numpy as np

from serving.bundle import ROWS, Bundle
from serving.engine.backends.interface import Backend, Session
from serving.engine.backends.onnx_backend import OnnxBackend, OnnxSession
from serving.engine.backends.registry import arithmetic_of
from serving.engine.batch_limits import slice_rows
from serving.engine.buffer_pool import BufferPool
from serving.engine.device import Device, features_on
from serving.engine.device_stages import DeviceStages
from serving.engine.providers import DeviceFeatures
from serving.engine.rest import Rest, no_rest, resting
from serving.engine.row_parallel import RowParallelSession, can_slice
from serving.engine.sessions import common_providers, cores
from serving.engine.thread_pool import DaemonPool
from serving.engine.trial import try_out
from serving.errors import BundleError, EngineError
from serving.interfaces import FloatArray, RunStage, Tensors, WaitingFeatures


class Engine:
    """One session per segment, warmed up.

    Args:
        bundle: a bundle that `read_bundle` accepted.
        threads: threads that compute; one for each core if 0. Segments run one at a time; they share a
            lone row, and take the rows of a batch between them.
        providers: execution providers by ONNX Runtime's names, best first; if None, CUDA where there is a
            GPU, or else the CPU. Where a provider is not to be had, ONNX Runtime quietly takes the next. A
            backend has its own.
        strict: every provider wanted must be had.
        device_features: whether features stay where the provider works (see `features_on`).
        warm_up_seconds: how long the first runs may take together: a graph may hold a loop without an end.
        pause: called after each of the first runs, with its seconds; `rest` leaves the cores to others.
        backend: the runtime; ONNX Runtime with these providers if None.

    Attributes:
        pause: as it was given.
        threads: that compute.
        segments: what the manifest says of them.
        arithmetic: runtime, precision and instruction set that it computes with.
        providers: what all segments run on, best first.
        missing: what was wanted and not had.
        features_on: where features wait: `host`, or `device`.
        trial: what its first runs showed.

    Raises:
        BundleError: a segment cannot be loaded, or its outputs are not what the manifest says, or no
            probabilities.
        EngineError: a provider is missing and `strict` is set, or features should stay on the device and the
            segments cannot do that.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        providers: Sequence[str] | None = None,
        strict: bool = False,
        device_features: DeviceFeatures = "auto",
        warm_up_seconds: float = 300.0,
        pause: Rest = no_rest,
        backend: Backend | None = None,
    ) -> None:
        self._backend = backend or OnnxBackend(providers)
        names = self._backend.wanted
        self.arithmetic = arithmetic_of(self._backend, bundle.manifest)
        self.segments = bundle.manifest.segments
        self._output_names = [[output.name for output in segment.outputs] for segment in self.segments]
        self.threads = threads or cores()
        self._binds = device_features == "on"  # features on a device are bound to plain sessions
        self.pause = pause
        self._helpers = DaemonPool(self.threads - 1)
        self._memory = BufferPool()
        self._slice_rows = slice_rows(self.segments)
        self._sessions = [self._open_segment(bundle, exit_index) for exit_index in range(len(self.segments))]
        self.providers = common_providers(self._sessions)
        self.missing = tuple(name for name in names if name not in self.providers)
        if strict and self.missing:
            raise EngineError(
                f"model {bundle.name!r}: wanted {', '.join(self.missing)}, but ONNX Runtime runs it on "
                f"{', '.join(self.providers)}; install what is missing (docs/gpu.md), or ask for others"
            )
        self.features_on = features_on(bundle.name, self.segments, self.providers, device_features)
        self.trial = self._try_out(bundle, warm_up_seconds)

    @property
    def stages(self) -> int:
        """Number of segments."""
        return len(self._sessions)

    def run(self, stage: int, inputs: Tensors) -> tuple[FloatArray, Tensors]:
        """Run one segment.

        Args:
            stage: the index of the segment, from 0.
            inputs: the features of the segment before, each [N, ...]; for stage 0 the images, uint8
                [N, H, W, 3].

        Returns:
            Probabilities, float32 [N, C], and the features for the next segment. Rows of an image on which
            the net overflows hold NaN or infinity; that is for the caller to see.
        """
        segment = self.segments[stage]
        feed = dict(zip((spec.name for spec in segment.feature_inputs), inputs, strict=True))
        if segment.gathers_rows:
            feed[ROWS] = np.arange(len(inputs[0]), dtype=np.int64)
        probabilities, *features = self._sessions[stage].run(self._output_names[stage], feed)
        return probabilities, tuple(features)

    def open(self, model: bytes) -> Session:
        """Open a session on another graph, as the segments' are: one of the same net, cut in another way.

        Raises:
            EngineError: the runtime cannot load it.
        """
        session = self._backend.open(model, self.threads)
        if self._binds or not can_slice(session):
            return session
        single = session if self.threads == 1 else self._backend.open(model, 1, callers=self.threads)
        return RowParallelSession(
            session, single, self.threads, self._helpers, self._memory, self._slice_rows
        )

    def release_buffers(self) -> None:
        """Let go of memory that first runs left behind, in batches larger than may ever come."""
        self._memory.clear()

    def make_run(self, waiting: WaitingFeatures, *, max_batch: int) -> RunStage:
        """Make the `run` of one scheduler: on features that stay on the device, if they do.

        Args:
            waiting: the features that wait for a stage of this scheduler.
            max_batch: the most rows in one run.
        """
        if self.features_on == "host":
            return self.run
        device = Device(self.providers)
        raw = [session.raw for session in self._sessions if isinstance(session, OnnxSession)]
        return DeviceStages(raw, self.segments, device, waiting=waiting, max_batch=max_batch).run

    def _open_segment(self, bundle: Bundle, exit_index: int) -> Session:
        # From bytes: what runs is what was checked, and no path lets a graph reach for other files.
        try:
            return self.open(bundle.segment_bytes(exit_index))
        except EngineError as error:
            raise BundleError(
                f"bundle {bundle.name!r}: {bundle.manifest.segments[exit_index].file}: {error}; "
                "export the bundle again"
            ) from error

    def _try_out(self, bundle: Bundle, seconds: float) -> str:
        sizes = (1,) if self.threads == 1 else (1, 2 * self.threads)  # a lone row, and slices
        run = resting(self.run, self.pause)
        with self._backend.limited(seconds) as limit:
            try:
                tolerance = self._backend.batch_tolerance(self.providers)
                return try_out(run, self.segments, sizes, tolerance=tolerance)
            except BundleError as error:
                took = f"; its first runs took more than {seconds:g} s" if limit.over else ""
                raise BundleError(f"bundle {bundle.name!r}: {error}{took}") from error
