import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data.augment import Shifts, alternating_mirrors, draw_shifts, padding_of, shift
from training.data.config import Border
from training.data.seeds import generator

# One 2x3 image; the channels hold the same numbers: 1 2 3 / 4 5 6.
IMAGE = torch.arange(1, 7, dtype=torch.uint8).reshape(1, 2, 3, 1).expand(1, 2, 3, 3)


@pytest.mark.parametrize(
    ("down", "right", "mirror", "expected"),
    [
        (1, 1, False, [[1, 2, 3], [4, 5, 6]]),
        (1, 1, True, [[3, 2, 1], [6, 5, 4]]),
        (0, 1, False, [[0, 0, 0], [1, 2, 3]]),
        (2, 1, False, [[4, 5, 6], [0, 0, 0]]),
        (1, 0, False, [[0, 1, 2], [0, 4, 5]]),
        (1, 2, False, [[2, 3, 0], [5, 6, 0]]),
        (2, 2, True, [[0, 6, 5], [0, 0, 0]]),
    ],
)
def test_golden_crops(down: int, right: int, mirror: bool, expected: list[list[int]]) -> None:
    shifts = Shifts(torch.tensor([down]), torch.tensor([right]), torch.tensor([mirror]))
    moved = shift(IMAGE, shifts, padding=1)
    assert moved.dtype == torch.uint8
    for channel in range(3):
        assert moved[0, :, :, channel].tolist() == expected


@pytest.mark.parametrize(
    ("down", "right", "expected"),
    [(0, 1, [[4, 5, 6], [1, 2, 3]]), (1, 0, [[2, 1, 2], [5, 4, 5]]), (2, 2, [[5, 6, 5], [2, 3, 2]])],
)
def test_golden_reflections(down: int, right: int, expected: list[list[int]]) -> None:
    shifts = Shifts(torch.tensor([down]), torch.tensor([right]), torch.tensor([False]))

    moved = shift(IMAGE, shifts, padding=1, border="reflect")

    assert moved[0, :, :, 0].tolist() == expected


def slow(image: np.ndarray, down: int, right: int, mirror: bool, padding: int, border: Border) -> np.ndarray:
    """Pad, crop and flip one image [H, W, 3] the obvious way."""
    height, width, _ = image.shape
    widths = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(image, widths, mode="reflect") if border == "reflect" else np.pad(image, widths)
    cropped = padded[down : down + height, right : right + width]
    return cropped[:, ::-1] if mirror else cropped


@given(st.integers(0, 1000), st.sampled_from(["black", "reflect"]))
def test_a_batch_equals_its_images_one_by_one(seed: int, border: Border) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
    shifts = draw_shifts(5, 2, True, rng)
    moved = shift(torch.from_numpy(images), shifts, 2, border).numpy()
    for place in range(5):
        row = [int(column[place]) for column in shifts]
        assert np.array_equal(moved[place], slow(images[place], row[0], row[1], bool(row[2]), 2, border))


def test_every_shift_and_both_sides_are_drawn() -> None:
    shifts = draw_shifts(2000, 4, True, generator(0, "augment"))
    assert sorted(set(shifts.down.tolist())) == list(range(9))
    assert sorted(set(shifts.right.tolist())) == list(range(9))
    assert 900 < int(shifts.mirror.sum()) < 1100


def test_nothing_is_mirrored_where_mirrors_mean_something_else() -> None:
    assert not draw_shifts(100, 4, False, generator(0, "augment")).mirror.any()


def test_the_padding_is_an_eighth() -> None:
    assert [padding_of(side) for side in (4, 32, 64)] == [1, 4, 8]


def test_of_two_epochs_an_image_is_mirrored_in_one() -> None:
    even, odd, later = (alternating_mirrors(1000, 0, epoch, "all exits") for epoch in (0, 1, 2))

    assert torch.equal(odd, ~even)
    assert torch.equal(later, even)
    assert 400 < int(even.sum()) < 600
    assert not torch.equal(alternating_mirrors(1000, 1, 0, "all exits"), even)
    assert not torch.equal(alternating_mirrors(1000, 0, 0, "exit 1"), even)
