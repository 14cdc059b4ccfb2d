"""Captured images on their way to the parent."""

from serving.capture.capture import CapturedImage
from serving.processes.notes import CAPTURED, ParentsCapture
from tests.bundles import tiny_images
from tests.serving.processes.linked import linked


def image(key: float) -> CapturedImage:
    return CapturedImage(key, "b", "pets", "0-ab-1", 0, tiny_images(1)[0])


def test_the_parent_has_an_image_before_what_it_is_told_later() -> None:
    kept: list[CapturedImage] = []
    with linked({CAPTURED: kept.append, "labels": lambda: [found.key for found in kept]}) as (parent, _):
        capture = ParentsCapture(parent, 100)
        capture.keep(image(0.5))
        capture.keep(image(0.25))
        capture.flush()
        assert parent.ask("labels") == [0.5, 0.25]
        capture.keep(image(0.75))
        capture.close()
        assert parent.ask("labels") == [0.5, 0.25, 0.75]
    assert list(capture.keys("b")) == []


def test_images_that_find_no_room_are_let_go() -> None:
    with linked({CAPTURED: lambda _: None}) as (parent, _):
        capture = ParentsCapture(parent, 1)
        for _ in range(1000):
            capture.keep(image(0.5))
        capture.close()
