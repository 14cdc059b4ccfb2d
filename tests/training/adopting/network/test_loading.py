import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from training.adopting.network import probing
from training.adopting.network.loading import load_network
from training.errors import AdoptError, ConfigError
from training.models.state_file import state_dict


class Small(nn.Module):
    """Has dropout and BatchNorm: in training mode it would answer something else each time."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.drop, self.linear = nn.Dropout(), nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.drop(self.norm(self.conv(images)).relu().mean((2, 3))))  # type: ignore[no-any-return]


class Grey(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        seen: Tensor = self.conv(images)
        return seen.mean((2, 3))


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))


def small(num_classes: int = 5) -> nn.Module:
    return Small(num_classes)


def branching() -> nn.Module:
    return Branching()


def grey() -> nn.Module:
    return Grey(1)


def infrared() -> nn.Module:
    return Grey(4)


def half() -> nn.Module:
    return Small(5).half()


def nothing() -> str:
    return "no module"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(sys.modules, "users_nets", sys.modules[__name__])
    return "users_nets"


def test_a_factory_with_weights_is_exported_as_it_answers_in_evaluation(here: str, tmp_path: Path) -> None:
    net = small(3)
    net.train()(torch.randn(8, 3, 8, 8))  # the running statistics move
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in net.state_dict().items()}},
        tmp_path / "w.pth",
    )
    network = load_network(f"{here}:small@{tmp_path / 'w.pth'}", 8)
    assert (network.classes, network.height, network.name) == (3, 8, f"{here}_small")
    images = probing.random_images((4, 3, 8, 8), "float32")
    expected = net.eval()(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(next(iter(probing.run(network.model, images).values())), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("users_nets:missing", "expected an ONNX file, torchvision:NAME"),
        ("no_such_package:net", "expected an ONNX file"),
        ("users_nets:nothing", "expected a factory of torch modules; found one of str"),
        ("resnet50", "expected an ONNX file, torchvision:NAME"),
        ("torchvision:resnet51@random", "has no classifier 'resnet51'"),
    ],
)
def test_what_is_no_network_is_refused(text: str, said: str, here: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_network(text)


def test_a_module_that_branches_on_values_is_refused_with_its_name(here: str) -> None:
    with pytest.raises(
        AdoptError, match=r"users_nets_branching: torch .* cannot export it to ONNX for 8×8 pixels"
    ):
        load_network(f"{here}:branching", 8)


@pytest.mark.parametrize(("name", "channels"), [("grey", 1), ("infrared", 4)])
def test_a_module_of_other_images_than_rgb_is_refused_by_name(here: str, name: str, channels: int) -> None:
    said = f"users_nets_{name}: expected a network of images of three channels .* found one of {channels}"
    with pytest.raises(AdoptError, match=said):
        load_network(f"{here}:{name}", 8)


def test_a_module_in_float16_is_exported_in_float32(here: str) -> None:
    network = load_network(f"{here}:half", 8)
    assert {tensor.data_type for tensor in network.model.graph.initializer} <= {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT64,
    }


def test_weights_of_another_network_are_refused(here: str, tmp_path: Path) -> None:
    torch.save({"conv.bias": torch.zeros(4), "other.bias": torch.zeros(5)}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="are another network's: Error"):
        load_network(f"{here}:small@{tmp_path / 'w.pth'}", 8)
    (tmp_path / "w.pth").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="expected a file of weights"):
        state_dict(tmp_path / "w.pth")
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="expected a state dict of tensors; found dict"):
        state_dict(tmp_path / "w.pth")


def test_a_network_of_timm_is_exported_in_evaluation_mode() -> None:
    pytest.importorskip("timm")
    network = load_network("timm:test_resnet@random", image_size=64)
    assert (network.classes, network.flops > 0) == (1000, True)


def test_a_classifier_of_transformers_brings_its_size_and_class_names(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
        id2label={0: "cat", 1: "dog", 2: "horse"},
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    network = load_network(f"hf:{tmp_path / 'vit'}")
    assert network.classes == 3
    assert network.class_names == ("cat", "dog", "horse")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            {"problem_type": "multi_label_classification"},
            r"'multi_label_classification' \(several",
        ),
        ({"problem_type": "regression"}, "found the problem_type 'regression'"),
        ({"num_channels": 1}, "expected a network of images of three channels .* found one of 1"),
        ({"num_channels": 4}, "expected a network of images of three channels .* found one of 4"),
    ],
)
def test_what_is_no_choice_among_classes_of_rgb_images_is_refused_by_name(
    tmp_path: Path, setting: dict[str, object], said: str
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        **{"image_size": 32, "patch_size": 16, "id2label": {0: "cat", 1: "dog", 2: "horse"}},
        **setting,
    )
    config.architectures = ["ViTForImageClassification"]
    config.save_pretrained(tmp_path / "vit")
    with pytest.raises(AdoptError, match=f"hf:{tmp_path / 'vit'}: .*{said}"):
        load_network(f"hf:{tmp_path / 'vit'}@random")
