import pytest
import torch

from tests.training.models.counts import mflops, mparams, on_meta
from training.errors import ConfigError
from training.models.presets import PRESETS
from training.models.registry import architecture

# The Meta-GF poster, table 1 (ECCV 2022): MSDNet-7 with 100 classes.
POSTER_MFLOPS = [56.43, 101.00, 155.31, 198.10, 249.53, 298.05, 340.64]
POSTER_MPARAMS = [0.90, 1.84, 2.80, 3.76, 4.92, 6.10, 7.36]


def test_msdnet_7_costs_what_the_poster_says() -> None:
    assert mflops(on_meta("msdnet", 100)) == POSTER_MFLOPS


def test_msdnet_7_by_other_conventions() -> None:
    """Multiply-adds of convolutions and linear layers alone, and of these only what an exit's logits need."""
    model = on_meta("msdnet", 100)

    assert mflops(model, "multiply_adds") == [56.03, 100.41, 154.56, 197.23, 248.56, 297.00, 339.55]
    assert mflops(model, "path_multiply_adds") == [45.61, 81.39, 132.38, 167.51, 208.93, 255.06, 289.93]


def test_msdnet_7_with_ten_classes() -> None:
    assert mflops(on_meta("msdnet", 10)) == [56.41, 100.98, 155.28, 198.05, 249.48, 297.98, 340.56]


def test_msdnet_7_has_as_many_parameters_as_the_poster_says() -> None:
    model = on_meta("msdnet", 100)

    assert mparams(model) == [0.899, 1.836, 2.797, 3.758, 4.916, 6.102, 7.362]
    assert mparams(model, digits=2) == POSTER_MPARAMS
    assert mparams(on_meta("msdnet", 10))[-1] == 7.281


def test_the_imagenet_preset_costs_what_was_published() -> None:
    model = on_meta("msdnet-imagenet", 1000)

    assert mflops(model) == [339.90, 685.46, 1008.16, 1254.47, 1360.53]
    assert mparams(model, digits=2) == [4.24, 8.77, 13.07, 16.75, 23.96]


def test_growth_6_is_the_cheaper_trade() -> None:
    costs = mflops(on_meta("msdnet-growth6", 100))

    # BoostNet's figures for it, to their digit.
    assert (round(costs[0], 1), round(costs[-1], 1)) == (15.1, 75.9)


def test_heads_see_the_widths_of_the_original() -> None:
    model = on_meta("msdnet", 100)

    widths = [next(model.segment(k).head.parameters()).shape[1] for k in range(7)]

    assert widths == [320, 448, 320, 448, 576, 384, 512]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_gives_logits_at_every_exit(preset: str) -> None:
    model = on_meta(preset, 12)
    size = model.image_size
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8, device="meta")

    assert [logits.shape for logits in model(images)] == [(2, 12)] * model.exits


@pytest.mark.parametrize(
    "options",
    [
        {"step_mode": "linear"},
        {"prune": "min"},
        {"bottleneck": "false"},
        {"reduction": "0"},
        {"grow_factors": "1-2", "bottleneck_factors": "1-2"},
        {"grow_factors": "1", "bottleneck_factors": "1"},
        {"blocks": "1", "base": "3"},
        {"image_size": "64"},
    ],
    ids=str,
)
def test_the_configuration_space(options: dict[str, str]) -> None:
    model = architecture("msdnet-tiny", options).model(5).eval()
    size = model.image_size

    logits = model(torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8))

    assert [exit_logits.shape for exit_logits in logits] == [(2, 5)] * model.exits
    assert all(exit_logits.isfinite().all() for exit_logits in logits)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"growht": "6"}, "growht: no such option"),
        ({"blocks": "0"}, "blocks: Input should be greater than or equal to 1"),
        ({"grow_factors": "1,2"}, "expected as many bottleneck_factors as grow_factors (2), found 3"),
        ({"image_size": "16"}, "a head needs 8"),
        ({"blocks": "1", "base": "1"}, "cannot walk through 3 scales"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        architecture("msdnet", options)

    assert says in str(refused.value)


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'msdnet7'; known: .*msdnet-tiny"):
        architecture("msdnet7")
