import numpy as np
import pytest
import torch

from training.adopting.features import Coding
from training.adopting.maps import View, view


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((64, 8, 8), View("planes", 64, 8, 8)),
        ((56, 56, 96), View("channels-last", 96, 56, 56, pool=4)),
        ((196, 768), View("tokens", 768, 14, 14)),
        ((198, 384), View("tokens", 384, 14, 14, extra=2)),
        ((77, 384), View("tokens", 384, 77, 1)),
        ((1280, 1, 1), View("planes", 1280, 1, 1)),
        ((10,), View("vector", 10)),
    ],
)
def test_views(shape: tuple[int, ...], expected: View) -> None:
    assert view(shape) == expected


@pytest.mark.parametrize("lowest", [0.0, -3.0])
def test_a_byte_keeps_features_to_a_hundredth_of_the_largest(lowest: float) -> None:
    features = np.random.default_rng(0).uniform(lowest, 3, (8, 4, 5, 5)).astype(np.float32)
    coding = Coding.of(features)
    back = coding.decode(torch.from_numpy(coding.encode(features))).numpy()
    assert np.abs(back - features).max() <= 3 * (0.01 if lowest < 0 else 0.005)
    assert coding.encode(10 * features).max() == 255
