"""A public state dict computes here what it computes there, block by block and scale by scale."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.converting.public_msdnet import PublicMSDNet
from training.converting.msdnet_names import public_name
from training.converting.renaming import fill
from training.errors import RunError
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture

SMALL: dict[str, Any] = {"blocks": 3, "base": 2, "step": 2, "channels": 4, "growth": 4, "head_channels": 8}
VARIANTS: dict[str, dict[str, Any]] = {
    "max": SMALL,
    "min": {**SMALL, "prune": "min"},
    "plain": {**SMALL, "bottleneck": False, "reduction": 0},
    "linear": {**SMALL, "step": 1, "step_mode": "linear"},
    "imagenet": {
        **SMALL,
        **{"stem": "imagenet", "image_size": 224, "head_channels": None},
        **{"grow_factors": "1-2-4-4", "bottleneck_factors": "1-2-4-4", "base": 4},
    },
}


def pair(variant: str) -> tuple[MultiExitModel, PublicMSDNet]:
    torch.manual_seed(0)
    settled = architecture("msdnet", VARIANTS[variant])
    public = PublicMSDNet(settled.options, 7).eval()  # type: ignore[arg-type]
    for module in public.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.5, 1.5)
    return settled.model(7).eval(), public


def fill_from(model: MultiExitModel, tensors: dict[str, Tensor], stem: str = "cifar") -> None:
    fill(model, tensors, partial(public_name, stem=stem))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_block_computes_the_same(variant: str) -> None:
    model, public = pair(variant)
    fill_from(model, public.state_dict(), "imagenet" if variant == "imagenet" else "cifar")
    images = torch.randn(2, 3, model.image_size, model.image_size)

    features: tuple[Tensor, ...] = (images,)
    with torch.no_grad():
        for index, (scales, expected) in enumerate(public(images)):
            logits, features = model.segment(index)(features)
            for found, wanted in zip(features, scales, strict=True):
                torch.testing.assert_close(found, wanted)
            torch.testing.assert_close(logits, expected)


def test_counters_that_old_torch_did_not_have_may_be_missing() -> None:
    model, public = pair("max")
    tensors = {n: t for n, t in public.state_dict().items() if not n.endswith("num_batches_tracked")}

    fill_from(model, tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("classifier.1.linear.bias"), "classifier.1.linear.bias is missing"),
        (lambda t: t.update({"blocks.9.0": torch.zeros(1)}), "blocks.9.0 is left over"),
        (
            lambda t: t.update({"classifier.0.linear.bias": torch.zeros(5)}),
            r"classifier.0.linear.bias: expected the shape \[7\], found \[5\]",
        ),
        (lambda t: t["classifier.0.linear.bias"].fill_(torch.nan), "holds NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_changes(change: object, message: str) -> None:
    model, public = pair("max")
    tensors, before = dict(public.state_dict()), {n: t.clone() for n, t in model.state_dict().items()}
    change(tensors)  # type: ignore[operator]

    with pytest.raises(RunError, match=message):
        fill_from(model, tensors)

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_model_of_other_options_is_told_in_few_words() -> None:
    _, public = pair("max")
    other = architecture("msdnet", {**SMALL, "growth": 8}).model(7)

    with pytest.raises(RunError, match=r"and \d+ more\. --model-option sets what it was trained with"):
        fill_from(other, public.state_dict())
