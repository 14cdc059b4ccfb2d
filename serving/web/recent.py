"""The latest images that left at each exit, small, for those who run the server: `--keep-recent N`.

They are in memory alone, and at most N of each exit of each model, 12 kB each. A long list
must not push out everybody else's images, so that a request brings in four at most.
"""

import base64
import io
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

MOST_OF_A_REQUEST = 4
"""Images that one request brings in."""
SIDE = 64
"""The most pixels of a kept image's side."""


@dataclass(frozen=True)
class Seen:
    """An image as it is kept: uint8 [H, W, 3], at most 64 × 64, its answer, and the second of it."""

    image: UInt8[np.ndarray, "H W 3"]
    class_name: str
    confidence: float
    at: float = 0.0

    def picture(self) -> str:
        """Return the image as the address of a PNG that holds it."""
        file = io.BytesIO()
        Image.fromarray(self.image).save(file, "PNG")
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


class RecentImages:
    """Follows requests of all models, from any thread.

    Args:
        keep: images of each exit of each model.
        clock: seconds, monotonic, the same for all processes.
    """

    def __init__(self, keep: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.keep, self._clock = keep, clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, int], deque[Seen]] = {}

    def follow(self, model: str, images: UInt8[np.ndarray, "N H W 3"], future: "Future[Any]") -> None:
        """Keep the first images of a request once they are answered; of one that fails, none.

        Args:
            model: its name.
            images: those of the request.
            future: gets one answer for each.
        """
        # Copied now: the images themselves are let go of when they are in the model.
        small = [_small(image) for image in images[:MOST_OF_A_REQUEST]]
        future.add_done_callback(lambda done: self._take(model, small, done))

    def of(self, model: str, exit_number: int) -> list[Seen]:
        """Return what is kept of a model's exit, from 1; the newest first."""
        with self._lock:
            return list(self._kept.get((model, exit_number), ()))

    def all(self) -> dict[tuple[str, int], list[Seen]]:
        """Return what is kept, by model and exit."""
        with self._lock:
            return {key: list(kept) for key, kept in self._kept.items()}

    def _take(self, model: str, small: list[UInt8[np.ndarray, "H W 3"]], done: "Future[Any]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        with self._lock:
            for image, answer in zip(small, done.result(), strict=False):
                kept = self._kept.setdefault((model, answer.exit), deque(maxlen=self.keep))
                kept.appendleft(Seen(image, answer.class_name, answer.confidence, self._clock()))


def _small(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Copy every so many pixels: it is on the way of every request, and need not be beautiful."""
    step = -(-max(image.shape[:2]) // SIDE)
    return np.ascontiguousarray(image[::step, ::step]) if step > 1 else image.copy()
