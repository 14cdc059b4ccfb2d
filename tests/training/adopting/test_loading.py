"""Networks of other libraries are loaded by name, and refused by name."""

from pathlib import Path

import pytest

from training.adopting.loading import load_network
from training.errors import AdoptError, ConfigError


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
    ("text", "told"),
    [
        ("timm:nosuchnet", "timm:nosuchnet cannot be built: Unknown model"),
        ("torchvision:nosuchnet", "nosuchnet"),
        ("nosuchfile.onnx", "nosuchfile.onnx: expected an ONNX file"),
        ("nosuchfile", "nosuchfile: expected an ONNX file, torchvision:NAME"),
        ("nosuchpackage:factory", "nosuchpackage"),
    ],
)
def test_what_is_not_there_is_refused_by_name(text: str, told: str) -> None:
    if text.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises((AdoptError, ConfigError), match=told):
        load_network(text)
