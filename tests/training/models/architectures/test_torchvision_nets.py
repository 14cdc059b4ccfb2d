"""Pretrained weights fill what they fit, and a clear error says how to get those that are not there."""

import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import ResNet18_Weights, VisionTransformer

from training.errors import ConfigError
from training.models.architectures import torchvision_nets
from training.models.config import ModelConfig
from training.models.registry import architecture

PRETRAINED = ModelConfig(model="torchvision:resnet18", exits=("layer1",), pretrained=True)


@pytest.fixture
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torchvision looks for weights, and no network."""

    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def published(folder: Path) -> nn.Module:
    """Put weights where the download of ResNet-18's would put them."""
    torch.manual_seed(7)
    net: nn.Module = torchvision.models.resnet18()
    torch.save(net.state_dict(), folder / Path(ResNet18_Weights.DEFAULT.url).name)
    return net


def test_weights_fill_all_but_a_classifier_of_other_classes(weights_folder: Path) -> None:
    trained = published(weights_folder).state_dict()

    model = PRETRAINED.architecture(64).model(5, mean=(0.1,) * 3, std=(0.9,) * 3)

    state = model.state_dict()
    torch.testing.assert_close(
        state["segments.0.body.layer1.0.conv1.weight"], trained["layer1.0.conv1.weight"]
    )
    torch.testing.assert_close(state["segments.1.body.layer4.1.bn2.bias"], trained["layer4.1.bn2.bias"])
    assert state["segments.1.head.fc.weight"].shape == (5, 512)
    # Normalised as when the weights were trained, not as the data set would have it.
    torch.testing.assert_close(model.mean.flatten() / 255, torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(model.std.flatten() / 255, torch.tensor([0.229, 0.224, 0.225]))


def test_as_many_classes_as_published_keep_the_classifier(weights_folder: Path) -> None:
    trained = published(weights_folder).state_dict()

    state = PRETRAINED.architecture(64).model(1000).state_dict()

    torch.testing.assert_close(state["segments.1.head.fc.weight"], trained["fc.weight"])


def test_weights_that_cannot_be_had_are_an_error_that_tells_where_to_put_them(weights_folder: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        PRETRAINED.architecture(64).model(5)

    message = str(refused.value)
    assert "ResNet18_Weights.IMAGENET1K_V1 cannot be had" in message
    assert "no network here" in message
    assert ResNet18_Weights.DEFAULT.url in message
    assert "TORCH_HOME" in message


def test_nothing_is_fetched_for_a_checkpoint_to_fill(weights_folder: Path) -> None:
    settled = PRETRAINED.architecture(64)

    assert settled.untrained().model(5).exits == 2
    assert settled.describe()["pretrained"] is True


def test_position_embeddings_follow_the_image_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(image_size: int, **more: int) -> nn.Module:
        net: nn.Module = VisionTransformer(image_size, 16, 1, 2, 8, 16, **more)
        return net

    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: small(224))
    net = small(64, num_classes=3)

    torchvision_nets.load_pretrained("vit_b_16", net)

    assert net.get_parameter("encoder.pos_embedding").shape == (1, 17, 8)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_left_out(name: str) -> None:
    with torch.device("meta"):
        net = torchvision_nets.build(name, 4, 96)

    assert not any(path.lower().startswith("aux") and child for path, child in net.named_children())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "msdnet", "exits": ["layer1"]}, "options of msdnet: exits: no such option"),
        ({"model": "sdn-vgg16", "pretrained": True}, "options of sdn-vgg16: pretrained: no such option"),
        ({"model": "tests.training.models.nets:swin", "pretrained": True}, "pretrained: no such option"),
    ],
)
def test_flags_that_a_model_has_no_use_for_are_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ModelConfig.model_validate(given).architecture()

    assert says in str(refused.value)


def test_flags_are_options_and_win_over_the_size_of_the_images() -> None:
    config = ModelConfig.model_validate(
        {"model": "sdn-vgg16", "exits": ["2,4", "9"], "model_option": {"image_size": "64"}}
    )

    assert config.architecture(32).describe()["exits"] == [2, 4, 9]
    assert config.architecture(32).image_size == 64
    assert architecture("torchvision:resnet18", {"exits": "layer1, layer2"}).describe() == {
        "name": "torchvision:resnet18",
        "exits": ["layer1", "layer2"],
        "image_size": 224,
        "pretrained": False,
        "evaluation": False,
        "head": "mean",
        "head_channels": 32,
    }
