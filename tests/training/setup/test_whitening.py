import pytest
import torch
from torch import Tensor

from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel
from training.models.reach import trainable
from training.models.registry import architecture
from training.setup.whitening import covariance, first_convolution, freeze, whiten, whitening_filters


def smooth(count: int) -> Tensor:
    """Random images whose neighbouring pixels are alike, uint8 [count, 32, 32, 3]."""
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(noise, (32, 32), mode="bilinear")
    return (255 * images).round().byte().permute(0, 2, 3, 1)


def ladder(**options: object) -> MultiExitModel:
    torch.manual_seed(0)
    return architecture("ladder", options).model(10)


def test_what_comes_out_is_white() -> None:
    model, images = ladder(), smooth(64)
    whiten(model, [images[:40], images[40:]])

    with torch.no_grad():
        (normal,) = model.normalise(images)
        weight = first_convolution(model).weight
        answers = torch.nn.functional.conv2d(normal, weight)[:, :12].transpose(0, 1).flatten(1).double()
    moments = answers @ answers.T / answers.shape[1]

    # Directions of less variance than the floor of the eigenvalues come out smaller.
    assert torch.allclose(moments - torch.diag(moments.diag()), torch.zeros(12, 12).double(), atol=1e-3)
    assert (moments.diag() < 1.001).all()
    assert moments[0, 0] > 0.999


def test_every_filter_has_its_negative() -> None:
    model = ladder()
    whiten(model, [smooth(8)])

    weight = first_convolution(model).weight

    assert torch.equal(weight[12:], -weight[:12])


@pytest.mark.parametrize("batches", [[64], [1, 63], [33, 31]])
def test_the_covariance_does_not_depend_on_batches(batches: list[int]) -> None:
    model, images = ladder(), smooth(64)

    found = covariance(model, torch.split(images, batches), (2, 2))

    torch.testing.assert_close(found, covariance(model, [images], (2, 2)))


def test_of_large_images_some_patches_do() -> None:
    large = torch.randint(
        0, 256, (2, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )

    found = covariance(ladder(), [large], (7, 7))

    assert found.shape == (147, 147)


def test_filters_come_by_their_eigenvalue() -> None:
    filters = whitening_filters(torch.diag(torch.tensor([1.0, 9.0, 4.0])))

    assert filters.abs().argmax(1).tolist() == [1, 2, 0]
    torch.testing.assert_close(filters.norm(dim=1), torch.tensor([1 / 3, 1 / 2, 1.0]), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("outputs", "frozen"), [(11, False), (12, True), (24, True), (30, True)])
def test_only_a_whitening_of_the_whole_patch_is_frozen(outputs: int, frozen: bool) -> None:
    model = ladder(stem_channels=outputs)
    drawn = first_convolution(model).weight.detach().clone()

    whiten(model, [smooth(8)])
    freeze(model)

    weight = first_convolution(model).weight
    assert weight.requires_grad != frozen
    assert len(trainable(model)) == len(list(model.parameters())) - frozen
    assert torch.equal(weight[24:], drawn[24:]), "what a whitening does not fill stays as it was drawn"


def test_a_network_that_begins_otherwise_is_refused() -> None:
    (segment, *_) = ladder().segments
    model = MultiExitModel([segment.head], (0.5,) * 3, (0.5,) * 3, 32)  # type: ignore[list-item]

    with pytest.raises(ConfigError, match="--whiten: expected a model that begins with a convolution"):
        first_convolution(model)
