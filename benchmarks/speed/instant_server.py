"""Everything of the server but the model: the real app over one that answers in batches, at once.

This process's time for a request, less decoding and the answer's bytes, is the cost of HTTP.

    python instant_server.py BUNDLE PORT
"""

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.answer import Answer
from serving.bundle import read_bundle
from serving.bundle.manifest import Arithmetic
from serving.monitoring.health import Health
from serving.options import ClassifyOptions
from serving.policy.guarantee import Guaranteed
from serving.policy.plan import Plan
from serving.settings import Settings
from serving.telemetry.metrics import Metrics
from serving.web.app import create_app
from serving.web.server import Server, reserve
from serving.web.service import Service

BATCH = 32


class Instant:
    """A model that names the first class of every image.

    Args:
        folder: of the bundle whose name, classes and preprocessing it has.
    """

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    features_on = "host"
    arithmetic = Arithmetic(runtime="onnxruntime", precision="float32")
    runtime_milliseconds: Mapping[str, float] = MappingProxyType({})
    arithmetic_differs = None
    exit_seconds: tuple[float, ...] = ()
    alive = True

    def __init__(self, folder: str) -> None:
        bundle = read_bundle(folder)
        self.name, self.manifest = bundle.name, bundle.manifest
        self.identity = bundle.manifest.identity
        self.exit_flops = bundle.manifest.exit_flops
        self._answer = Answer(
            self.manifest.classes[0], 0, 0.123456789, 1, self.exit_flops[0], 1.5e8, self.name
        )
        self._changed = threading.Condition()
        self._waiting: list[tuple[Future[Any], int]] = []
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def samples(self) -> None:
        """It has none."""
        return

    def plan(self, budget: str) -> Plan:
        """Not asked for here."""
        raise NotImplementedError

    def guarantee(self, max_drop: float, budget: str | None) -> Guaranteed:
        """Not asked for here."""
        raise NotImplementedError

    @property
    def stalled_seconds(self) -> float:
        """It never hangs."""
        return 0.0

    @property
    def waiting_rows(self) -> int:
        """Number of images without an answer."""
        with self._changed:
            return sum(size for _, size in self._waiting)

    def health(self) -> Health:
        """Fine."""
        return Health(True, None, {}, {}, 0)

    def image_seconds(self) -> tuple[float, ...]:
        """Say that it takes no time."""
        return (0.0,) * len(self.exit_flops)

    def submit(
        self,
        images: npt.NDArray[np.uint8],
        ask: ClassifyOptions,
        *,
        received_at: float,
        told: Callable[[int, int], None] = lambda place, class_index: None,
    ) -> "Work":
        """Admit images."""
        work = Work()
        with self._changed:
            self._waiting.append((work.future, len(images)))
            self._changed.notify()
        return work

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            for future, size in batch:
                if future.set_running_or_notify_cancel():
                    future.set_result([self._answer] * size)


class Work:
    """An admitted request."""

    def __init__(self) -> None:
        self.future: Future[Any] = Future()
        self.stage_times = None

    def cancel(self) -> None:
        """Drop it."""
        self.future.cancel()


def main() -> None:
    """Serve until stopped."""
    settings, model, metrics = Settings(port=int(sys.argv[2])), Instant(sys.argv[1]), Metrics()
    service = Service({model.name: model}, settings, metrics, metrics)
    with reserve(settings.host, settings.port) as reserved:
        Server(create_app(service), service, lambda: None).run([reserved])


if __name__ == "__main__":
    main()
