"""Any classifier cut at named layers computes what it computed whole, and says why where it cannot be cut."""

import copy
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.training.exporting.test_graph import run_chain
from tests.training.models.nets import Branching, swin, vision_transformer
from training.errors import ConfigError
from training.exporting.graph import boundaries, export_whole, split_at_boundaries
from training.models.flops import segment_flops
from training.models.multi_exit import MultiExitModel
from training.models.reach import reach
from training.models.registry import architecture

NETS = "tests.training.models.nets:"


def built(model: str, exits: str, classes: int = 5, size: int = 32) -> MultiExitModel:
    torch.manual_seed(0)
    return architecture(model, {"exits": exits, "image_size": size}).model(classes)


def images(count: int, size: int) -> Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)


WHOLE: Mapping[str, Callable[[], nn.Module]] = {
    f"torchvision:{name}": partial(torchvision.models.get_model, name, weights=None, num_classes=5)
    for name in ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5")
} | {
    f"{NETS}vision_transformer": partial(vision_transformer, num_classes=5, image_size=32),
    f"{NETS}swin": partial(swin, num_classes=5),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    ("model", "exits"),
    [
        ("torchvision:resnet18", "layer1,layer2.0.bn1,layer3"),
        ("torchvision:mobilenet_v3_small", "features.2,features.6"),
        ("torchvision:squeezenet1_1", "features.3.squeeze,features.7"),
        ("torchvision:shufflenet_v2_x0_5", "stage2,stage3.1.branch2"),
        (f"{NETS}vision_transformer", "encoder.layers.encoder_layer_0.ln_2,encoder.layers.encoder_layer_0"),
        (f"{NETS}swin", "features.1,features.2"),
    ],
)
def test_the_last_exit_is_the_uncut_network(model: str, exits: str, training: bool) -> None:
    cut_up = built(model, exits).train(training)
    torch.manual_seed(0)
    whole = WHOLE[model]().train(training)
    batch = images(4, 32)

    torch.manual_seed(1)  # of dropout
    expected = whole(cut_up.normalise(batch)[0])
    torch.manual_seed(1)
    got = cut_up(batch)

    torch.testing.assert_close(got[-1], expected, rtol=1e-4, atol=1e-4)
    assert [logits.shape for logits in got] == [(4, 5)] * cut_up.exits


def test_cuts_through_shortcuts_and_in_place_steps_change_nothing() -> None:
    net = Branching(5).eval()
    whole = copy.deepcopy(net)
    model = built(f"{NETS}Branching", "left,pair.0,stem.1,stem,flat").eval()
    model.load_state_dict(_renamed(net, model))
    batch = images(3, 32)

    with torch.inference_mode():
        got, expected = model(batch), whole(model.normalise(batch)[0])

    assert model.exits == 6
    torch.testing.assert_close(got[-1], expected)
    for k in range(model.exits):
        torch.testing.assert_close(model(batch, [k])[0], got[k])


def _renamed(net: nn.Module, model: MultiExitModel) -> dict[str, Tensor]:
    """The state of `model`, with the values of `net` wherever the two share a layer."""
    state, values = model.state_dict(), net.state_dict()
    for key in state:
        path = key.split(".", 3)[-1]
        if ".body." in key and path in values:
            state[key] = values[path]
    last = f"segments.{model.exits - 1}.head."
    return {**state, **{last + f"classifier.{p}": values[f"classifier.{p}"] for p in ("weight", "bias")}}


def test_what_is_alive_crosses_the_cut_and_the_exit_reads_its_own_layer() -> None:
    model = built(f"{NETS}Branching", "left,stem")
    features = model.normalise(images(2, 32))

    stem = model.segment(0).body(features)
    left = model.segment(1).body(stem)

    assert [x.shape for x in stem] == [(2, 8, 16, 16)]
    assert [x.shape for x in left] == [(2, 8, 16, 16)] * 2, "the shortcut crosses, too"
    assert left[1] is stem[0]
    expected = model.segment(1).body.get_submodule("left")(stem[0])
    torch.testing.assert_close(left[0], expected)
    classify = model.segment(1).head.get_submodule("classify")
    torch.testing.assert_close(model.segment(1).head(left), classify(expected.mean((2, 3))))


def test_every_parameter_learns_and_exits_do_not_reach_what_comes_later() -> None:
    model = built(f"{NETS}Branching", "stem,left")

    used = reach(model)
    torch.stack(model(images(4, 32))).sum().backward()  # type: ignore[no-untyped-call]

    assert used.any(0).all()
    assert used[0].sum() == 4 + 2, "convolution, BatchNorm, and the exit's own head"
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "exits"),
    [
        (f"{NETS}Branching", "stem.1,left,pair.0"),
        (f"{NETS}vision_transformer", "encoder.layers.encoder_layer_0.ln_2"),
    ],
    ids=["branching", "vision transformer"],
)
def test_exported_segments_answer_what_torch_answers(model: str, exits: str) -> None:
    net = built(model, exits).train()
    parts = boundaries(net)
    segments = split_at_boundaries(export_whole(net), parts)

    for count in (1, 3):
        batch = images(count, 32)
        with torch.inference_mode():
            expected = [logits.softmax(-1).numpy() for logits in net.eval()(batch)]
        for served, wanted in zip(run_chain(segments, parts, batch.numpy()), expected, strict=True):
            np.testing.assert_allclose(served, wanted, atol=1e-5)


def test_layers_may_come_in_any_order() -> None:
    there, back = (built("torchvision:resnet18", exits) for exits in ("layer1,layer3", "layer3,layer1"))

    assert list(there.state_dict()) == list(back.state_dict())


def test_shapes_cost_the_same_as_values() -> None:
    layer = "encoder.layers.encoder_layer_0"
    with torch.device("meta"):
        shapes = built(f"{NETS}vision_transformer", layer)

    assert shapes.mean.is_meta
    assert segment_flops(shapes) == segment_flops(built(f"{NETS}vision_transformer", layer))


def test_a_factory_may_ask_for_the_image_size() -> None:
    model = built(f"{NETS}sized", "0", size=9)

    assert [logits.shape for logits in model(images(2, 9))] == [(2, 5), (2, 5)]


@pytest.mark.parametrize(
    ("model", "exits", "says"),
    [
        ("torchvision:resnet18", "", "expected at least one layer in --exits; it can have exits after: c"),
        ("torchvision:resnet18", "layr2", "'layr2': there is no such layer (did you mean layer2"),
        ("torchvision:resnet18", "layer1,layer2,layer1", "'layer1' is named twice"),
        ("torchvision:resnet18", "layer1,layer1.1", "'layer1.1' gives the same output as 'layer1'"),
        ("torchvision:resnet18", "layer1.0.relu", "'layer1.0.relu': forward calls it 2 times"),
        ("torchvision:resnet18", "fc", "'fc': it belongs to the classifier, or comes after it"),
        (f"{NETS}vision_transformer", "encoder.layers.encoder_layer_0.self_attention", "a single tensor"),
        (f"{NETS}Branching", "after", "it belongs to the classifier, or comes after it"),
        (f"{NETS}Branching", "unused", "forward does not call it"),
        (f"{NETS}Branching", "pair", "forward does not call it"),
        (f"{NETS}Branching", "split", "it does not give a single tensor"),
        (f"{NETS}Positions", "first", "'size', which is no tensor, would have to cross the cut"),
        (f"{NETS}Positions", "third", "'new_ones' [8], whose rows are no images, would have to cross"),
        (f"{NETS}Positions", "fourth", "'argmax' would have to cross the cut: expected float32, found"),
        (f"{NETS}Training", "layer", "its forward reads self.training"),
        (f"{NETS}Deciding", "layer", "torch.fx cannot follow its forward"),
        (f"{NETS}stubborn", "0", "expected logits [N, 5], found [N, 3]"),
        (f"{NETS}nothing", "0", "expected it to return a torch.nn.Module, found NoneType"),
        (f"{NETS}picky", "0", "expected a function that takes num_classes"),
        (f"{NETS}missing", "0", "expected a function 'missing' in tests.training.models.nets, found None"),
        ("no.such.package:net", "0", "cannot import 'no.such.package'"),
        ("torchvision:resnet19", "layer1", "has no classifier 'resnet19'; did you mean resnet1"),
        ("torchvision:vit_b_32", "conv_proj", "cannot be built for 20×20 pixels"),
        ("resnet50", "layer1", "torchvision:NAME and package.module:factory"),
        ("msdnet", "layer1", "exits: no such option"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(model: str, exits: str, says: str) -> None:
    size = 20 if exits == "conv_proj" else 32

    with pytest.raises(ConfigError) as refused:
        built(model, exits, size=size)

    assert says in str(refused.value)


def test_candidates_are_listed_down_to_a_readable_depth() -> None:
    with pytest.raises(ConfigError) as refused:
        built("torchvision:resnet18", "layer9")

    listed = str(refused.value).partition("it can have exits after: ")[2]
    assert "layer1, " in listed
    assert "layer4.0, layer4, avgpool" in listed, "layer4.1 is layer4 under another name"
    assert "layer1.0.conv1" not in listed
    assert listed.endswith("inside these")


def test_images_that_are_too_small_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"cannot take images of 3×3 pixels: .*; try another image_size"):
        built("torchvision:squeezenet1_1", "features.2", size=3)

    captured = capfd.readouterr()
    assert "Traceback" not in captured.out + captured.err
