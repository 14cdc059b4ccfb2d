"""Chooses images of live traffic at random, and has them kept once they are answered."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.capture.sampling import SmallestKeys, sample_size

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[int], npt.NDArray[np.float64]]
"""A number of images -> as many random numbers in [0, 1)."""


@dataclass(frozen=True, slots=True)
class CapturedImage:
    """An image of live traffic.

    Attributes:
        key: random, in [0, 1); the images with the smallest ones are kept.
        bundle: identity of the bundle that answered it.
        model: the name that this bundle was served under.
        request: the server's id of its request; None where no label can come for it.
        image: its place in the request, from 0.
        pixels: uint8 [H, W, 3], as the network takes it.
    """

    key: float
    bundle: str
    model: str
    request: str | None
    image: int
    pixels: Pixels


class Keeper(Protocol):
    """Keeps images: a file, or another process that has one."""

    def keep(self, image: CapturedImage) -> None:
        """Keep an image, at the cost of another one where there are too many; returns at once."""

    def keys(self, bundle: str) -> Sequence[float]:
        """Return the keys of a bundle's images that are kept already, as far as they are known here."""


class Capture:
    """Follows the requests of all models, from any thread.

    Args:
        most_images: of each bundle.
        most_bytes: of the pixels of each bundle's images.
        keeper: keeps those that are chosen.
        draw: makes their keys.
    """

    def __init__(self, most_images: int, most_bytes: int, keeper: Keeper, draw: Draw | None = None) -> None:
        self._most_images, self._most_bytes, self._keeper = most_images, most_bytes, keeper
        self._draw: Draw = draw or np.random.default_rng().random
        self._lock = threading.Lock()
        self._samples: dict[str, SmallestKeys] = {}

    def follow(
        self,
        model: str,
        bundle: str,
        images: Pixels,
        future: "Future[Any]",
        request: str | None = None,
        place_of: Callable[[int], int] = int,
    ) -> None:
        """Choose among the images of a request; they are kept once it is answered, and not if it fails.

        Args:
            model: its name.
            bundle: identity of its bundle.
            images: uint8 [N, H, W, 3].
            future: gets the answers.
            request: the server's id of the request.
            place_of: the place in the request of the image at an index; others could not be read.
        """
        with self._lock:
            keys = self._draw(len(images))
            bound = self._sample(bundle, images).bound
        chosen = np.flatnonzero(keys < bound)
        if not len(chosen):
            return
        # Copied now: the images themselves are let go of when they are in the model.
        copied = [(float(keys[index]), int(index), images[index].copy()) for index in chosen]

        def answered(done: "Future[Any]") -> None:
            if done.cancelled() or done.exception() is not None:
                return
            for key, index, pixels in copied:
                with self._lock:
                    entered = self._samples[bundle].add(key)
                if entered:
                    self._keeper.keep(CapturedImage(key, bundle, model, request, place_of(index), pixels))

        future.add_done_callback(answered)

    def _sample(self, bundle: str, images: Pixels) -> SmallestKeys:
        if bundle not in self._samples:
            size = sample_size(self._most_images, self._most_bytes, images[0].nbytes)
            self._samples[bundle] = SmallestKeys(size, self._keeper.keys(bundle))
        return self._samples[bundle]
