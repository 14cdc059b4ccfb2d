import pytest
import torch

from training.comparison.poster import differences, poster_table
from training.config import FitConfig
from training.models.flops import exit_flops, segment_flops
from training.models.registry import architecture

MSDNET_7 = tuple(round(1e6 * m) for m in (56.43, 101.00, 155.31, 198.10, 249.53, 298.05, 340.64))


@pytest.mark.parametrize("data_set", ["uoft-cs/cifar100", "cifar100"])
def test_the_table_is_found_by_architecture_and_data_set(data_set: str) -> None:
    table = poster_table("msdnet", data_set, MSDNET_7)

    assert table is not None
    assert table.number == 1
    assert table.accuracy["meta-gf"] == pytest.approx(
        (0.6797, 0.7227, 0.7506, 0.7577, 0.7638, 0.7711, 0.7747)
    )
    # The poster's own averages, over its own rows.
    means = {method: sum(values) / 7 for method, values in table.accuracy.items()}
    assert means["joint"] == pytest.approx(0.7283, abs=1e-4)
    assert means["meta-gf"] == pytest.approx(0.7457, abs=1e-4)


def test_table_3_is_that_of_vgg() -> None:
    table = poster_table("sdn-vgg", "cifar10", range(7))

    assert table is not None
    assert table.number == 3
    assert table.accuracy["cagrad"][0] == pytest.approx(0.7627)


@pytest.mark.parametrize(
    ("name", "data_set", "exits"),
    [("resnet", "cifar10", 7), ("msdnet", "digits", 7), ("msdnet", "cifar10", 5)],
)
def test_what_the_poster_does_not_have_stands_alone(name: str, data_set: str, exits: int) -> None:
    assert poster_table(name, data_set, range(exits)) is None


def settings(**changed: object) -> FitConfig:
    return FitConfig.model_validate({"dataset": "cifar100", "model": "msdnet", "epochs": 300, **changed})


@pytest.mark.parametrize("classes", [10, 100])
def test_the_posters_own_setting_differs_in_nothing(classes: int) -> None:
    with torch.device("meta"):
        flops = exit_flops(segment_flops(architecture("msdnet").model(classes)))
    table = poster_table("msdnet", f"cifar{classes}", flops)

    assert table is not None
    assert differences(table, settings(), flops, 45_000, 10_000) == []


def test_everything_that_differs_is_named() -> None:
    table = poster_table("msdnet", "cifar100", MSDNET_7)
    assert table is not None
    config = settings(epochs=2, batch_size=128, precision="bf16", augment="none", schedule="cosine")

    cheaper = [flops // 4 for flops in MSDNET_7]

    assert differences(table, config, cheaper, 4_000, 500) == [
        "the model's last exit costs 85.2 MFLOPs (poster: 340.6)",
        "augment none (poster: crop-flip)",
        "epochs 2 (poster: 300)",
        "batch size 128 (poster: 64)",
        "schedule cosine (poster: step)",
        "precision bf16 (poster: float32)",
        "4,000 training images (poster: 45,000)",
        "500 test images (poster: 10,000)",
    ]
