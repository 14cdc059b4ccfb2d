"""What HTTP needs of models, of the work that they do and of a repository that changes them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.bundle.samples import Samples
from serving.monitoring.health import Health
from serving.options import ClassifyOptions
from serving.policy.guarantee import Guaranteed
from serving.policy.plan import Plan
from serving.repository.comparison import Compared
from serving.repository.live import Split
from serving.repository.opener import Described
from serving.repository.repository import OnDisk
from serving.scheduler.request import StageTime


class Work(Protocol):
    """An admitted request (`serving.scheduler.request.Request`)."""

    @property
    def future(self) -> Future[Any]:
        """Gets the answers, `list[serving.answer.Answer]`, or an error."""

    @property
    def stage_times(self) -> Sequence[StageTime] | None:
        """Its runs of stages so far; None where they are not noted."""

    def cancel(self) -> None:
        """Drop its rows: their caller has gone."""


class ServedModel(Described, Protocol):
    """What HTTP needs of `serving.model.Model`; tests use a fake of the same shape."""

    @property
    def name(self) -> str:
        """Its name in requests."""

    @property
    def samples(self) -> Samples | None:
        """Images to try it with; None where its bundle has none."""

    @property
    def stalled_seconds(self) -> float:
        """For how long there has been work and none of it was finished; 0 where there is none."""

    @property
    def waiting_rows(self) -> int:
        """Number of images that were admitted and have no answer yet."""

    def plan(self, budget: str) -> Plan:
        """Say what a budget buys."""

    def guarantee(self, max_drop: float, budget: str | None) -> Guaranteed:
        """Say what a guarantee costs, under a cap if there is one."""

    def submit(
        self,
        images: npt.NDArray[np.uint8],
        ask: ClassifyOptions,
        *,
        received_at: float,
        told: Callable[[int, int], None] = ...,
    ) -> Work:
        """Admit images, uint8 [N, H, W, 3], of a request received at that second of `time.monotonic`.

        Called from a thread that may be kept: planning a new budget takes milliseconds.
        """

    def health(self) -> Health:
        """Say how it is doing."""

    def image_seconds(self) -> tuple[float, ...]:
        """Say how long each stage takes for an image, in batches of the cheapest size."""


class ModelChanges(Protocol):
    """What changes the models of a server (`serving.repository.repository.Repository`)."""

    def start(self, change: Callable[[], None]) -> "Future[None]":
        """Make a change in a thread of its own."""

    def load(self, name: str, number: str | None = None) -> None:
        """Load a model, or a version of it beside the others."""

    def unload(self, name: str, number: str | None = None) -> None:
        """Unload a model, or a version of it."""

    def promote(self, name: str, number: str) -> None:
        """Let a version answer who names none."""

    def rollback(self, name: str) -> None:
        """Let the version answer that did before."""

    def set_canary(self, name: str, canary: Split | None) -> None:
        """Send a share of the requests to another version."""

    def set_shadow(self, name: str, shadow: Split | None) -> None:
        """Let another version, or model, see a share of the requests."""

    def on_disk(self) -> list[OnDisk]:
        """List the versions that are not loaded."""

    def compared(self, name: str) -> list[Compared]:
        """Return how canary and shadow of a model do."""
