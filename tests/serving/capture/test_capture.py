"""Images are chosen when they come and kept once they are answered."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.capture.capture import Capture, CapturedImage
from tests.bundles import tiny_images


@dataclass
class Kept:
    before: tuple[float, ...] = ()
    images: list[CapturedImage] = field(default_factory=list)

    def keep(self, image: CapturedImage) -> None:
        self.images.append(image)

    def keys(self, bundle: str) -> tuple[float, ...]:
        return self.before


def capture(kept: Kept, *keys: float, most_images: int = 2) -> Capture:
    waiting = iter(keys)

    def draw(count: int) -> npt.NDArray[np.float64]:
        return np.array([next(waiting) for _ in range(count)])

    return Capture(most_images, 10**6, kept, draw)


def answered() -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result([])
    return future


def test_the_images_with_small_keys_are_kept_with_their_places() -> None:
    kept, images = Kept(), tiny_images(4)
    chosen = capture(kept, 0.5, 0.9, 0.25, 0.75)
    chosen.follow("pets", "b", images, answered(), "0-ab-1", [1, 2, 4, 5].__getitem__)
    assert [(found.key, found.image) for found in kept.images] == [(0.5, 1), (0.9, 2), (0.25, 4)]
    assert {(found.bundle, found.model, found.request) for found in kept.images} == {("b", "pets", "0-ab-1")}
    for found, place in zip(kept.images, (0, 1, 2), strict=True):
        np.testing.assert_array_equal(found.pixels, images[place])


def test_images_are_copied_before_their_answer() -> None:
    kept, images, future = Kept(), tiny_images(1), Future[Any]()
    expected = images[0].copy()
    capture(kept, 0.5).follow("pets", "b", images, future)
    images[:] = 0
    assert kept.images == []
    future.set_result([])
    np.testing.assert_array_equal(kept.images[0].pixels, expected)


def test_a_request_that_fails_is_not_kept_and_takes_no_place() -> None:
    kept = Kept()
    chosen = capture(kept, 0.1, 0.2, 0.3, most_images=1)
    failed, cancelled = Future[Any](), Future[Any]()
    chosen.follow("pets", "b", tiny_images(1), failed)
    chosen.follow("pets", "b", tiny_images(1), cancelled)
    failed.set_exception(ValueError())
    cancelled.cancel()
    chosen.follow("pets", "b", tiny_images(1), answered())
    assert [found.key for found in kept.images] == [0.3]


def test_a_sample_goes_on_where_it_stopped() -> None:
    kept = Kept(before=(0.25, 0.5))
    chosen = capture(kept, 0.6, 0.4)
    for _ in range(2):
        chosen.follow("pets", "b", tiny_images(1), answered())
    assert [found.key for found in kept.images] == [0.4]


def test_bundles_have_samples_of_their_own() -> None:
    kept = Kept()
    chosen = capture(kept, 0.1, 0.9, most_images=1)
    chosen.follow("pets", "one", tiny_images(1), answered())
    chosen.follow("pets", "two", tiny_images(1), answered())
    assert [found.bundle for found in kept.images] == ["one", "two"]


def test_bytes_bound_a_sample_too() -> None:
    kept = Kept()
    chosen = Capture(1000, 2 * tiny_images(1)[0].nbytes, kept, lambda count: np.linspace(0.9, 0.1, count))
    chosen.follow("pets", "b", tiny_images(2), answered())
    chosen.follow("pets", "b", tiny_images(2), answered())
    assert [round(found.key, 1) for found in kept.images] == [0.9, 0.1, 0.1]
