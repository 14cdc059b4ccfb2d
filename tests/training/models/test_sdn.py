"""The Shallow-Deep Networks cost what the poster says, and what the published numbers say beyond it."""

import pytest
import torch

from tests.training.models.counts import mflops, mparams, on_meta
from training.errors import ConfigError
from training.models.architectures.sdn_head import InternalClassifier
from training.models.reach import reach
from training.models.registry import architecture

# The Meta-GF poster, table 3 (ECCV 2022): VGG-16 SDN with 10 classes.
POSTER_MFLOPS = [39.76, 96.52, 153.25, 191.08, 247.81, 285.68, 314.45]
POSTER_MPARAMS = [0.05, 0.29, 1.22, 1.85, 5.47, 7.86, 15.47]


def test_vgg_costs_what_the_poster_says_but_for_one_slip() -> None:
    counted = mflops(on_meta("sdn-vgg16", 10))

    # Exit 6 is 285.60 by the poster's own convention, which all its other numbers follow to the digit.
    assert counted[5] == 285.60
    assert counted[:5] + counted[6:] == POSTER_MFLOPS[:5] + POSTER_MFLOPS[6:]


def test_vgg_has_as_many_parameters_as_the_poster_says() -> None:
    model = on_meta("sdn-vgg16", 10)

    assert mparams(model, digits=2) == POSTER_MPARAMS
    assert mparams(model) == [0.049, 0.292, 1.219, 1.850, 5.474, 7.856, 15.469]


def test_vgg_with_a_hundred_classes() -> None:
    model = on_meta("sdn-vgg16", 100)

    assert mflops(model) == [39.85, 96.79, 153.89, 192.09, 249.57, 287.54, 316.43]
    assert mparams(model, digits=2)[-1] == 17.45


def test_resnet_56() -> None:
    ten, hundred = on_meta("sdn-resnet56", 10), on_meta("sdn-resnet56", 100)

    assert mflops(hundred) == [19.52, 38.59, 56.56, 75.57, 93.56, 112.57, 126.76]
    assert mparams(hundred)[-1] == 1.221
    assert (mflops(ten)[0], mflops(ten)[-1], mparams(ten)[-1]) == (19.50, 126.44, 0.892)


@pytest.mark.parametrize(
    ("preset", "widths"),
    [
        ("sdn-vgg16", [1024, 2048, 4096, 4096, 8192, 2048]),
        ("sdn-resnet56", [256, 256, 512, 512, 1024, 1024]),
    ],
)
def test_internal_classifiers_see_four_by_four_places_or_fewer(preset: str, widths: list[int]) -> None:
    model = on_meta(preset, 10)
    heads = [model.segment(k).head for k in range(6)]

    assert [head.classify.in_features for head in heads if isinstance(head, InternalClassifier)] == widths


def test_pooling_is_mixed_by_the_learned_weight() -> None:
    head = InternalClassifier(channels=1, size=8, classes=16)
    x = torch.arange(64.0).view(1, 1, 8, 8)
    with torch.no_grad():
        head.classify.weight.copy_(torch.eye(16))
        head.classify.bias.zero_()
        head.mix.fill_(0.25)

    logits = head((x,))

    # The first 2×2 window holds 0, 1, 8, 9: maximum 9, mean 4.5.
    assert logits[0, 0].item() == pytest.approx(0.25 * 9 + 0.75 * 4.5)
    logits.sum().backward()
    assert head.mix.grad is not None
    assert head.mix.grad.item() == pytest.approx(16 * 4.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mixing_weight_leaves_the_precision_as_it_is(dtype: torch.dtype) -> None:
    head = InternalClassifier(channels=2, size=8, classes=3)
    head.classify.to(dtype)

    assert head((torch.ones(1, 2, 8, 8, dtype=dtype),)).dtype == dtype


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("sdn-vgg16", {"channels": "4"}),
        ("sdn-vgg16", {"channels": "4", "exits": "12,1"}),
        ("sdn-vgg16", {"channels": "4", "image_size": "48", "exits": "2-4"}),
        ("sdn-resnet56", {"channels": "8", "blocks": "2", "exits": "1,2,5"}),
        ("sdn-resnet56", {"channels": "8", "blocks": "1", "exits": "2", "image_size": "9"}),
    ],
    ids=str,
)
def test_the_configuration_space(preset: str, options: dict[str, str]) -> None:
    model = architecture(preset, options).model(5)
    size = model.image_size
    images = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)

    for mode in (True, False):
        logits = model.train(mode)(images)
        assert [exit_logits.shape for exit_logits in logits] == [(2, 5)] * model.exits
        assert all(exit_logits.isfinite().all() for exit_logits in logits)
    assert reach(model).any(0).all(), "every parameter serves some exit"


@pytest.mark.parametrize(
    ("preset", "options", "says"),
    [
        ("sdn-vgg16", {"exits": "2,13"}, "expected early exits after convolutions 1..12, found 13"),
        ("sdn-vgg16", {"exits": "2,4,2"}, "expected every exit once, found 2 repeatedly"),
        ("sdn-vgg16", {"exits": ""}, "at least 1 item"),
        ("sdn-vgg16", {"exits": "0,4"}, "greater than or equal to 1"),
        ("sdn-vgg16", {"exits": "conv2"}, "exits.0: Input should be a valid integer"),
        ("sdn-vgg16", {"image_size": "31"}, "expected at least 32 pixels"),
        ("sdn-resnet56", {"exits": "4,27"}, "expected early exits after blocks 1..26 of 27, found 27"),
        ("sdn-resnet56", {"blocks": "1"}, "expected early exits after blocks 1..2 of 3, found 24"),
        ("sdn-resnet56", {"pretrained": "true"}, "pretrained: no such option"),
    ],
)
def test_options_that_cannot_be_are_refused(preset: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        architecture(preset, options)

    assert says in str(refused.value)
