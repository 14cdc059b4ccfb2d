"""Exits with a convolutional head: counted, exported and trained as any other."""

import numpy as np
import torch
from torch import nn

from tests.training.exporting.test_graph import run_chain
from training.exporting.graph import boundaries, export_whole, split_at_boundaries
from training.models.conv_head import ConvExitHead, convolvable, window
from training.models.exit_head import ExitHead
from training.models.flops import segment_flops
from training.models.multi_exit import MultiExitModel
from training.models.registry import architecture
from training.setup.freezing import check_learning, freeze_layers

NETS = "tests.training.models.nets:"


def built(model: str, exits: str) -> MultiExitModel:
    torch.manual_seed(0)
    options = {"exits": exits, "image_size": 32, "head": "conv", "head_channels": 8}
    return architecture(model, options).model(5)


def test_maps_get_a_convolutional_head_and_tokens_the_standard_one() -> None:
    assert isinstance(built("torchvision:squeezenet1_1", "features.3").segment(0).head, ConvExitHead)
    model = built(f"{NETS}vision_transformer", "encoder.layers.encoder_layer_0")
    assert isinstance(model.segment(0).head, ExitHead)
    assert not convolvable((2, 64, 1, 1))


def test_large_maps_are_averaged_first() -> None:
    head = ConvExitHead((2, 3, 56, 56), classes=4, hidden=8)
    assert (window(56, 56), head.pool(torch.zeros(2, 3, 56, 56)).shape[2]) == (4, 14)
    assert head((torch.zeros(2, 3, 56, 56),)).shape == (2, 4)


def test_its_flops_are_counted_and_its_segments_answer_what_torch_answers() -> None:
    model = built("torchvision:squeezenet1_1", "features.3").eval()
    # Maps of 128×7×7: 8 channels at 7×7, 16 at 4×4, ReLU, average and maximum, a linear layer of 32 to 5.
    expected = 9 * 128 * 8 * 49 + 8 * 49 + 9 * 8 * 16 * 16 + 3 * 16 * 16 + 33 * 5
    assert segment_flops(model)[0].head == expected
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    parts = boundaries(model)
    found = run_chain(split_at_boundaries(export_whole(model), parts), parts, images.numpy())
    with torch.inference_mode():
        for served, logits in zip(found, model(images), strict=True):
            np.testing.assert_allclose(served, logits.softmax(-1).numpy(), atol=1e-5)


def test_on_a_frozen_backbone_it_learns_alone() -> None:
    model = built("torchvision:squeezenet1_1", "features.3")
    freeze_layers(model, "backbone")
    check_learning(model, "backbone")
    learning = {name for name, values in model.named_parameters() if values.requires_grad}
    assert learning == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("segments.0.head", "_segments.0.head"))
    }
    assert any(isinstance(module, nn.Conv2d) for module in model.segment(0).head.modules())
