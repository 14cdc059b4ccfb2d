"""The standard head averages over places, whichever axes these are, and classifies."""

import pytest
import torch

from training.models.exit_head import ExitHead, readable


@pytest.mark.parametrize(
    ("shape", "places"),
    [((2, 6, 4, 4), (2, 3)), ((2, 4, 4, 6), (1, 2)), ((2, 9, 6), (1,)), ((2, 6), ())],
    ids=["channels first", "channels last", "tokens", "vectors"],
)
def test_every_kind_of_features(shape: tuple[int, ...], places: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head, x = ExitHead(shape, classes=3), torch.randn(shape)
    transformer = places in ((1, 2), (1,))

    logits = head((x, torch.zeros(2, 1)))

    normal = torch.nn.functional.layer_norm(x, (6,)) if transformer else x
    pooled = normal.mean(places) if places else normal
    torch.testing.assert_close(logits, head.classify(pooled))
    assert head.classify.in_features == 6


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((2, 6, 4, 4), True),
        ((2, 4, 4, 6), True),
        ((2, 9, 6), True),
        ((2, 6), True),
        ((2,), False),
        ((2, 6, 4, 5), False),
        ((2, 3, 6, 4, 4), False),
    ],
)
def test_what_a_head_can_read(shape: tuple[int, ...], fits: bool) -> None:
    assert readable(shape) is fits
