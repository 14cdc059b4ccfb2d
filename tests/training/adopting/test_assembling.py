import numpy as np
import onnx
import pytest
from PIL import Image

from serving.bundle import Preprocessing
from tests.training.adopting.graphs import classifier
from tests.training.adopting.pictures import pictures
from training.adopting.assembling import Member, _factor
from training.adopting.network import network, reading
from training.adopting.network.probing import run
from training.adopting.reference import Reference, _pixels_alone
from training.data.normalising import normalisation


def member(model: onnx.ModelProto, way: str) -> Member:
    return Member(network.network(reading.checked("net", model)), normalisation(way))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("way", ["imagenet", "bgr:0..255", "0.5,0.4,0.3:0.2"])
def test_pixels_are_what_the_user_computes_by_hand(layout: str, way: str) -> None:
    images, _ = pictures(3, seed=1)
    own = member(classifier(layout=layout), way)
    mean, std = np.array(own.normalisation.mean), np.array(own.normalisation.std)
    expected = (images / 255 - mean) / std
    expected = expected[..., ::-1] if own.normalisation.bgr else expected
    expected = expected.transpose(0, 3, 1, 2) if layout == "NCHW" else expected
    found = run(_pixels_alone(own, Preprocessing(height=8, width=8)), images)["pixels"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("filter_", "pillow"), [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)]
)
def test_smaller_members_see_what_pillow_would_make_of_the_image(
    layout: str, filter_: str, pillow: Image.Resampling
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (21, 21, 3), dtype=np.uint8)
    own = member(classifier(layout=layout), "0..255")
    spec = Preprocessing(height=21, width=21, filter=filter_)
    found = run(_pixels_alone(own, spec), image[None])["pixels"][0]
    planes = [
        Image.fromarray(image[..., channel].astype(np.float32)).resize((8, 8), pillow) for channel in range(3)
    ]
    expected = np.stack([np.asarray(plane) for plane in planes], axis=0 if layout == "NCHW" else 2)
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("before", [224, 256, 299, 384])
@pytest.mark.parametrize("after", [32, 96, 160, 192, 223])
def test_scales_give_the_size_that_is_wanted(before: int, after: int) -> None:
    assert int(np.floor(np.float32(before) * _factor(before, after))) == after
    assert abs(_factor(before, after) * before / after - 1) < 1e-6


def test_the_original_is_asked_one_by_one_where_it_takes_no_more() -> None:
    images, _ = pictures(5, seed=2)
    spec = Preprocessing(height=8, width=8)
    free, fixed = (member(classifier(batch=batch), "imagenet") for batch in ("N", 2))
    np.testing.assert_allclose(Reference(free, spec)(images), Reference(fixed, spec)(images), atol=1e-6)
