from pathlib import Path

import pytest
import torch

from tests.training.setup import nets
from tests.training.setup.test_freezing import NET
from training.config import FitConfig
from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture
from training.runs.start import started
from training.setup.init_weights import fill, pixel_normalisation

HEAD = "segments.0.head.classify.weight"


def model(classes: int = 10) -> MultiExitModel:
    options = {"exits": ("first", "second"), "image_size": 8}
    return architecture("tests.training.setup.nets:net", options).model(classes)


def test_a_networks_own_weights_are_taken_and_new_heads_stay() -> None:
    filled = model()
    head = filled.state_dict()[HEAD].clone()
    assert fill(filled, nets.trained(), "net.pth") == ()
    state = filled.state_dict()
    assert torch.equal(state["segments.1.body.second.0.weight"], nets.trained()["second.0.weight"])
    assert torch.equal(state["segments.2.head.classify.bias"], nets.trained()["classify.bias"])
    assert torch.equal(state[HEAD], head)


def test_a_classifier_of_other_classes_stays_as_it_was_drawn() -> None:
    assert fill(model(classes=4), nets.trained(), "net.pth") == ("classify.weight", "classify.bias")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"first.0.weight": torch.zeros(8, 3, 3, 3)}, "found a file without first.0.bias, first.1.weight"),
        (
            {**nets.trained(), "second.0.weight": torch.zeros(9, 8, 3, 3)},
            r"with second.0.weight \[8, 8, 3, 3\], found",
        ),
    ],
)  # fmt: skip
def test_weights_of_another_network_are_refused(state: dict[str, torch.Tensor], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        fill(model(), state, "net.pth")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"normalise": None}, "nothing says how its pixels are normalised"),
        ({"normalise": "weights"}, "other weights do not say it"),
        ({"normalise": "bgr:half"}, "expected RGB"),
        ({"normalise": "sepia"}, "--normalise sepia: expected imagenet"),
        ({"init_weights": "nowhere.pth"}, "expected a file of weights"),
        ({"init_from": "runs/a"}, "both say which weights to start from"),
        ({"init_weights": None, "init_from": "runs/a"}, "--init-from brings its own way"),
    ],
)
def test_pixels_that_weights_would_not_know_are_refused(
    changed: dict[str, object], says: str, tmp_path: Path
) -> None:
    torch.save(nets.trained(), tmp_path / "net.pth")
    settings = {
        **NET,
        "init_weights": str(tmp_path / "net.pth"),
        "dataset": str(tmp_path / "none"),
        **changed,
    }
    with pytest.raises(ConfigError, match=says):
        started(tmp_path / "run", FitConfig.model_validate(settings))


def test_pixels_are_normalised_as_said() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    for said, expected in (("half", ((0.5,) * 3, (0.5,) * 3)), ("data", (mean, std)), (None, (mean, std))):
        config = FitConfig.model_validate({**NET, "normalise": said})
        assert pixel_normalisation(config, mean, std) == expected


def test_torchvision_is_another_word_for_pretrained() -> None:
    config = FitConfig.model_validate(
        {"dataset": "digits", "model": "torchvision:resnet18", "init_weights": "torchvision"}
    )
    assert (config.pretrained, config.init_weights) == (True, None)
