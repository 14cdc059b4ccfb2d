import torch
from torch import Tensor, nn

from training.models.multi_exit import Features, MultiExitModel, Segment
from training.models.registry import architecture


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, features: Features) -> Features:
        self.calls += 1
        return features


class MeanHead(nn.Module):
    def forward(self, features: Features) -> Tensor:
        return features[-1].mean((2, 3))


def test_nothing_behind_the_deepest_exit_is_run() -> None:
    bodies = [Counting() for _ in range(3)]
    model = MultiExitModel([Segment(body, MeanHead()) for body in bodies], (0.5,) * 3, (0.5,) * 3, 8)

    (logits,) = model(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), [1])

    assert [body.calls for body in bodies] == [1, 1, 0]
    torch.testing.assert_close(logits, torch.full((1, 3), -1.0))


def test_images_are_normalised_by_channel() -> None:
    model = MultiExitModel([Segment(Counting(), MeanHead())], (0.2, 0.4, 0.6), (0.1, 0.2, 0.5), 8)
    images = torch.tensor([51, 102, 255], dtype=torch.uint8).expand(1, 8, 8, 3)

    (normal,) = model.normalise(images)

    torch.testing.assert_close(normal[0, :, 0, 0], torch.tensor([0.0, 0.0, 0.8]))


def test_a_truncated_forward_equals_the_whole_one() -> None:
    torch.manual_seed(0)
    model = architecture("msdnet-tiny").model(4).eval()
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)

    whole = model(images)

    for k in range(model.exits):
        (alone,) = model(images, [k])
        assert torch.equal(alone, whole[k])
