import pytest
import torch

from tests.training.fitting.test_problem import ALL, FakeImages, make
from training.fitting.image_sizes import resized, side_at
from training.fitting.problem import Recipe, TrainingProblem
from training.methods.interface import Phase
from training.models.registry import architecture
from training.schedules import constant


@pytest.mark.parametrize(
    ("progress", "side"), [(0, 24), (0.49, 24), (0.64, 24), (0.66, 28), (0.79, 28), (0.8, 32), (1, 32)]
)
def test_images_grow_in_steps_of_four(progress: float, side: int) -> None:
    assert side_at(progress, 24, 32) == side


def test_flat_images_stay_what_they_are() -> None:
    images = torch.full((2, 32, 32, 3), 7, dtype=torch.uint8)

    assert torch.equal(resized(images, 24), torch.full((2, 24, 24, 3), 7, dtype=torch.uint8))
    assert resized(images, 32) is images


def test_a_pixel_is_the_mean_of_those_it_covers() -> None:
    images = torch.tensor([[0, 100], [100, 200]], dtype=torch.uint8)[None, :, :, None].expand(1, 2, 2, 3)

    assert resized(images, 1).flatten().tolist() == [100, 100, 100]


def test_training_images_grow_and_statistics_are_of_the_full_size() -> None:
    model = architecture(
        "ladder", {"fine": "0", "coarse": "0", "fine_channels": 4, "coarse_channels": 4}
    ).model(4)
    recipe = Recipe(0.1, 0.9, 0.0, constant, epochs=1, start_size=24)
    problem = TrainingProblem(model, FakeImages(), recipe)
    sizes: list[int] = []
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[-1]))

    sides = [batch.images.shape[1] for batch in problem.batches(ALL)]
    problem.estimate_batchnorm(Phase("statistics"))

    assert sides == [24, 24, 24, 24, 32]
    assert sizes == [32] * 5


def test_without_a_start_size_images_are_as_they_come() -> None:
    _, problem = make()

    assert {batch.images.shape[1] for batch in problem.batches(ALL)} == {32}
