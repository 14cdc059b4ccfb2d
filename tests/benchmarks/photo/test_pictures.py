"""The pool: whole JPEGs of the sizes that are promised, the same in every run."""

from io import BytesIO

from PIL import Image

from benchmarks.photo.pictures import SIZES, pictures


def test_the_pool_has_every_size_and_some_stand_upright() -> None:
    sizes = []
    for data in pictures(2 * len(SIZES)):
        with Image.open(BytesIO(data)) as image:
            image.load()
            sizes.append(image.size)
    assert {(max(size), min(size)) for size in sizes} == set(SIZES)
    assert sum(width < height for width, height in sizes) == 2


def test_a_larger_pool_begins_as_a_smaller_one() -> None:
    assert list(pictures(2)) == list(pictures(3))[:2]
