"""Which exits a bundle has: those that pay for their heads, or those that were named."""

import numpy as np
import pytest

from training.errors import ConfigError
from training.exporting.exit_subset import ExitChoice, best_exits, join_segments, named_exits
from training.exporting.graph import Boundary, boundaries
from training.models.flops import SegmentFlops
from training.models.registry import architecture


def answers(
    accuracies: tuple[float, ...], images: int = 4000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of two classes [N, K, 2] and labels: surer where right, hard images hard throughout."""
    random = np.random.default_rng(seed)
    hardness, labels = random.random(images), random.integers(0, 2, images)
    probabilities = np.empty((images, len(accuracies), 2), np.float32)
    for index, accuracy in enumerate(accuracies):
        right = hardness < accuracy
        sure = np.where(right, 0.75 + 0.25 * random.random(images), 0.5 + 0.3 * random.random(images))
        chosen = np.where(right, labels, 1 - labels)
        probabilities[np.arange(images), index, chosen] = sure
        probabilities[np.arange(images), index, 1 - chosen] = 1 - sure
    return probabilities, labels


def test_an_exit_whose_head_is_dear_and_adds_nothing_is_dropped() -> None:
    segments = [SegmentFlops(100, 10), SegmentFlops(5, 100), SegmentFlops(200, 10)]
    found = best_exits(*answers((0.7, 0.7, 0.95)), segments)
    assert found.kept == (0, 2)
    assert found.dropped == (1,)
    assert found.accuracy is not None
    assert found.all_accuracy is not None
    assert found.accuracy > found.all_accuracy
    assert "exits 1, 3 of 3 are kept, 2 dropped" in str(found)
    assert "on 2,000 validation images" in str(found)


def test_exits_that_pay_stay() -> None:
    segments = [SegmentFlops(100, 1), SegmentFlops(100, 1), SegmentFlops(100, 1)]
    assert best_exits(*answers((0.6, 0.8, 0.95)), segments).kept == (0, 1, 2)


def test_too_many_exits_are_to_be_named() -> None:
    probabilities, labels = answers((0.6,) * 13, images=10)
    with pytest.raises(ConfigError, match="tries every subset of up to 12 exits, and the network has 13"):
        best_exits(probabilities, labels, [SegmentFlops(100, 1)] * 13)


@pytest.mark.parametrize(("text", "expected"), [("1,3,5", (0, 2, 4)), ("5", (4,)), (" 5, 1 ,1", (0, 4))])
def test_numbers_are_read(text: str, expected: tuple[int, ...]) -> None:
    assert named_exits(text, 5) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,3", "the last exit, 5, answers what no other does"),
        ("0,5", "exits 1 to 5, found 0"),
        ("1,6", "exits 1 to 5, found 6"),
        ("first,5", "expected auto, or numbers"),
        ("1,,5", "expected auto, or numbers"),
    ],
)
def test_numbers_that_cannot_be_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        named_exits(text, 5)


def test_segments_are_joined_with_the_costs_of_their_bodies() -> None:
    model = architecture("msdnet", {"blocks": 3, "base": 1, "step": 1}).model(4)
    parts = boundaries(model)
    joined, costs = join_segments(
        parts, [SegmentFlops(100, 10), SegmentFlops(200, 20), SegmentFlops(400, 40)], (0, 2)
    )
    assert joined == [parts[0], Boundary(parts[0].outputs[1:], parts[2].outputs)]
    assert [(cost.body, cost.head) for cost in costs] == [(100, 10), (600, 40)]


def test_nothing_dropped_is_said_so() -> None:
    assert str(ExitChoice((0, 1), 2)) == "exits 1, 2 of 2 are kept"
