"""What is kept of callers' images: little, small, and only of requests that were answered."""

import base64
import io
from concurrent.futures import Future

import numpy as np
import pytest
from PIL import Image

from serving.answer import Answer
from serving.web.recent import MOST_OF_A_REQUEST, RecentImages


def answered(*exits: int, confidence: float = 0.5) -> "Future[list[Answer]]":
    future: Future[list[Answer]] = Future()
    future.set_result([Answer("ant", 0, confidence, number, 10, 10.0, "tiny") for number in exits])
    return future


def images(count: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_each_exit_keeps_its_latest() -> None:
    recent = RecentImages(2)
    for confidence in (0.1, 0.2, 0.3):
        recent.follow("tiny", images(2), answered(1, 3, confidence=confidence))
    assert [seen.confidence for seen in recent.of("tiny", 1)] == [0.3, 0.2]
    assert [seen.confidence for seen in recent.of("tiny", 3)] == [0.3, 0.2]
    assert recent.of("tiny", 2) == recent.of("other", 1) == []


def test_a_request_brings_in_few() -> None:
    recent = RecentImages(100)
    recent.follow("tiny", images(50), answered(*[1] * 50))
    assert len(recent.of("tiny", 1)) == MOST_OF_A_REQUEST


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(8, 8, (8, 8)), (64, 64, (64, 64)), (224, 100, (56, 25))]
)
def test_images_are_copied_small(height: int, width: int, shape: tuple[int, int]) -> None:
    recent, given = RecentImages(1), images(1, height, width)
    before, step = given[0].copy(), -(-height // 64)
    recent.follow("tiny", given, answered(1))
    given[:] = 0
    (seen,) = recent.of("tiny", 1)
    assert seen.image.shape == (*shape, 3)
    assert seen.image.base is None or seen.image.base.size == seen.image.size  # nothing larger is held
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(seen.picture().partition(",")[2]))))
    assert (decoded == before[::step, ::step]).all()


def test_of_requests_that_failed_or_were_dropped_nothing_is_kept() -> None:
    recent = RecentImages(2)
    failed: Future[list[Answer]] = Future()
    failed.set_exception(ValueError())
    dropped: Future[list[Answer]] = Future()
    dropped.cancel()
    for future in (failed, dropped):
        recent.follow("tiny", images(1), future)
    assert recent.of("tiny", 1) == []
