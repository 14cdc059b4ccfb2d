"""The ladder costs what the documentation says, and every part of it serves an exit."""

import pytest
import torch

from tests.training.models.counts import mflops, mparams, on_meta
from training.errors import ConfigError
from training.models.reach import reach
from training.models.registry import architecture

SMALL = {"fine_channels": 4, "coarse_channels": 8, "head_channels": 8}


def test_costs_and_parameters() -> None:
    model = on_meta("ladder", 10)

    assert mflops(model) == [17.29, 40.19, 63.08, 100.43]
    assert mparams(model) == [0.323, 0.668, 1.014, 1.585]


def test_the_second_exit_costs_two_fifths_of_the_last() -> None:
    costs = mflops(on_meta("ladder", 10))

    assert costs[1] / costs[-1] == pytest.approx(0.4, abs=0.002)


def test_every_parameter_serves_the_exits_behind_it_alone() -> None:
    model = architecture("ladder", SMALL).model(10)
    names = [name for name, _ in model.named_parameters()]

    used = reach(model)

    for exit_index, row in enumerate(used.tolist()):
        for name, serves in zip(names, row, strict=True):
            _, segment, part, *_ = name.split(".")
            expected = int(segment) == exit_index if part == "head" else int(segment) <= exit_index
            assert serves == expected, (exit_index, name)


@pytest.mark.parametrize("side", [16, 20, 33])
def test_other_image_sizes(side: int) -> None:
    model = architecture("ladder", {**SMALL, "image_size": side}).model(3).eval()

    logits = model(torch.zeros(2, side, side, 3, dtype=torch.uint8))

    assert [tuple(row.shape) for row in logits] == [(2, 3)] * 4


def test_segments_without_layers() -> None:
    model = architecture("ladder", {**SMALL, "fine": "0-0", "coarse": "0,2"}).model(3)

    assert model.exits == 2


def test_scales_of_different_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected as many segments in fine as in coarse \(2\), found 3"):
        architecture("ladder", {"fine": "1,1,1", "coarse": "1,1"})
