"""Every method with half-detached features: rows of one exit move as that exit alone moves them."""

from collections.abc import Iterator, Sequence
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from tests.training.fakes import Quadratics
from training.methods import method
from training.methods.interface import Batch, Phase, Snapshot
from training.models.multi_exit import Features, MultiExitModel, Segment
from training.models.reach import row_reach, whole_reach

WIDTH, CLASSES, EXITS = 8, 4, 4


class Body(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, WIDTH, 1)

    def forward(self, features: Features) -> Features:
        return (torch.tanh(self.conv(features[0])),)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(WIDTH, CLASSES)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.classify(features[0].mean((2, 3)))
        return logits


def chain(zero_head: bool = False) -> MultiExitModel:
    torch.manual_seed(0)
    segments = [Segment(Body(3 if k == 0 else WIDTH), Head()) for k in range(EXITS)]
    model = MultiExitModel(segments, (0.5,) * 3, (0.25,) * 3, image_size=4)
    if zero_head:
        nn.init.zeros_(model.segment(EXITS - 1).head.classify.weight)  # type: ignore[union-attr,arg-type]
    model.feature_split = True
    return model


class Images(Quadratics):
    """A chain of convolutions on three batches, trained by plain SGD."""

    def __init__(self, model: MultiExitModel, exits: Sequence[int] | None = None) -> None:
        super().__init__(torch.zeros(EXITS, 1), lr=0.05)
        self.model, self.parameters = model.train(), list(model.parameters())
        self._rows, self.only = row_reach(model), exits
        self.reach = whole_reach(self._rows)
        generator = torch.Generator().manual_seed(1)
        self.images: Tensor = torch.randint(256, (3, 6, 4, 4, 3), dtype=torch.uint8, generator=generator)
        self.labels: Tensor = torch.randint(CLASSES, (3, 6), generator=generator)

    @property
    def row_reach(self) -> Sequence[Tensor]:
        return self._rows

    def batches(self, phase: Phase) -> Iterator[Batch]:
        yield from zip(self.images, self.labels, strict=True)

    def losses(self, batch: Batch, exits: Sequence[int], weighted: bool = True) -> list[Tensor]:
        images, labels = cast(tuple[Tensor, Tensor], batch)
        found = [nn.functional.cross_entropy(logits, labels) for logits in self.model(images, exits)]
        if self.only is None:
            return found
        return [loss if k in self.only else 0 * loss for k, loss in zip(exits, found, strict=True)]

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters, lr=self.lr)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            [p.detach().clone() for p in self.parameters], {"statistics": self.statistics.clone()}
        )

    def estimate_batchnorm(self, phase: Phase) -> None:
        """There is none."""


METHODS = ("joint", "ge", "pcgrad", "cagrad", "online-gf", "meta-gf", "torchjd:UPGrad")
EXCLUSIVE = slice(WIDTH // 2, WIDTH)


def moved(problem: Images, name: str, epochs: int = 1, **options: str) -> list[Tensor]:
    before = problem.snapshot()
    how = method(name, problem, options)
    for _ in range(epochs):
        how.epoch()
    return [p.detach() - old for p, old in zip(problem.parameters, before.parameters, strict=True)]


@pytest.mark.parametrize("granularity", ["tensor", "channel", "element"])
def test_meta_gf_leaves_rows_of_one_exit_to_it_at_any_granularity(granularity: str) -> None:
    expected = moved(Images(chain(), exits=[0]), "joint")
    found = moved(Images(chain()), "meta-gf", granularity=granularity)

    # Within an epoch the head's input depends on the shared rows too: its task sees only its own, as here.
    torch.testing.assert_close(found[0][EXCLUSIVE], expected[0][EXCLUSIVE], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
def test_rows_of_one_exit_move_as_it_alone_moves_them(name: str) -> None:
    # One step, so that what the methods do to the shared rows cannot come back through the features.
    def first_step(problem: Images) -> Images:
        problem.images, problem.labels = problem.images[:1], problem.labels[:1]
        return problem

    expected = moved(first_step(Images(chain(), exits=[0])), "joint")
    found = moved(first_step(Images(chain())), name)

    for index in (0, 1):  # the first convolution's weight and bias
        torch.testing.assert_close(found[index][EXCLUSIVE], expected[index][EXCLUSIVE], rtol=1e-5, atol=1e-7)
    assert not torch.allclose(found[0][: WIDTH // 2], expected[0][: WIDTH // 2], rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_a_head_that_begins_at_zero_leaves_nothing_of_the_trunk_untrained(name: str) -> None:
    model = chain(zero_head=True)
    names = [name for name, _ in model.named_parameters()]

    moves = moved(Images(model), name, epochs=3)

    assert [name for name, move in zip(names, moves, strict=True) if not move.any()] == []
    conv = moves[names.index(f"segments.{EXITS - 1}.body.conv.weight")]
    assert bool(conv.flatten(1).any(1).all()), "every channel of the last segment is trained"
