from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.training.adopting.graphs import CLASSES, SIZE, classifier, saved
from tests.training.adopting.graphs import quantised as in_qdq
from training.adopting.network import probing
from training.adopting.network.network import Network, read_network
from training.adopting.network.reading import inputs
from training.errors import AdoptError


def answers(network: Network, rows: int) -> np.ndarray:
    images = probing.random_images((rows, *network.image_shape), network.dtype)
    return next(iter(probing.run(network.model, images).values()))


def original(network: Network, rows: int) -> np.ndarray:
    images = probing.random_images((rows, *network.image_shape), network.dtype)
    found = [next(iter(probing.run(network.original, image[None]).values())) for image in images]
    return np.concatenate(found).reshape(rows, -1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 1},
        {"layout": "NHWC", "batch": 1, "softmax": True},
        {"dtype": TensorProto.UINT8},
        {"spatial_output": True},
        {"opset": 13},
    ],
)
def test_answers_are_those_of_the_file_for_any_number_of_images(
    options: dict[str, object], tmp_path: Path
) -> None:
    network = read_network(saved(classifier(**options), tmp_path))  # type: ignore[arg-type]
    assert (network.height, network.width, network.classes) == (SIZE, SIZE, CLASSES)
    assert network.ends_in == ("probabilities" if options.get("softmax") else "logits")
    np.testing.assert_allclose(answers(network, 5), original(network, 5), atol=1e-6)


def test_a_class_token_of_a_single_image_is_repeated_for_each(tmp_path: Path) -> None:
    model = classifier(batch=1)
    graph = model.graph
    vector = next(node for node in graph.node if node.output[0] == "vector")
    vector.output[0] = "places"
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 4), np.float32), "token"))
    graph.initializer.append(numpy_helper.from_array(np.ones((8, CLASSES), np.float32), "wider"))
    graph.node[-1].input[:] = ["vector", "wider", "b4"]
    graph.node.insert(
        len(graph.node) - 1, helper.make_node("Concat", ["token", "places"], ["vector"], axis=1)
    )
    network = read_network(saved(model, tmp_path))
    np.testing.assert_allclose(answers(network, 3), original(network, 3), atol=1e-6)


def test_a_file_quantised_to_sixteen_bits_is_read_as_it_is(tmp_path: Path) -> None:
    model = in_qdq(classifier(opset=21))
    model.ir_version = 10
    for tensor in model.graph.initializer:
        if tensor.name == "middle":
            tensor.CopyFrom(numpy_helper.from_array(np.array(32768, np.uint16), "middle"))
    network = read_network(saved(model, tmp_path))
    np.testing.assert_allclose(answers(network, 3), original(network, 3), atol=1e-6)


def test_a_size_left_open_has_to_be_given(tmp_path: Path) -> None:
    model = classifier()
    for dim in inputs(model)[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    path = saved(model, tmp_path)
    with pytest.raises(AdoptError, match=r"no fixed size.*--image-size"):
        read_network(path)
    assert read_network(path, 16).image_shape == (3, 16, 16)


def add_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [1]))


def add_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("r1", TensorProto.FLOAT, None))


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "com.microsoft"
    model.graph.node[1].op_type = "FusedConv"


def quantised(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "QLinearConv"


def training(model: onnx.ModelProto) -> None:
    names = ["scale", "shift", "mean", "variance"]
    model.graph.initializer.extend(numpy_helper.from_array(np.ones(4, np.float32), name) for name in names)
    norm = helper.make_node(
        "BatchNormalization", ["r1", *names], ["n1", "m", "v"], training_mode=1, name="norm"
    )
    model.graph.node[2].input[0] = "n1"
    model.graph.node.insert(2, norm)


def half(model: onnx.ModelProto) -> None:
    inputs(model)[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def grey(model: onnx.ModelProto) -> None:
    inputs(model)[0].type.tensor_type.shape.dim[1].dim_value = 1


def with_alpha(model: onnx.ModelProto) -> None:
    inputs(model)[0].type.tensor_type.shape.dim[1].dim_value = 4


def grey_last(model: onnx.ModelProto) -> None:
    for dim, size in zip(inputs(model)[0].type.tensor_type.shape.dim[1:], (SIZE, SIZE, 1), strict=True):
        dim.dim_value = size


def sixteen_bit_pixels(model: onnx.ModelProto) -> None:
    inputs(model)[0].type.tensor_type.elem_type = TensorProto.UINT16


def brain_float(model: onnx.ModelProto) -> None:
    inputs(model)[0].type.tensor_type.elem_type = TensorProto.BFLOAT16


def half_on_its_way(model: onnx.ModelProto) -> None:
    """Weights and images are float32, and are cast before they meet."""
    for place, read in enumerate(model.graph.node[0].input):
        cast = helper.make_node("Cast", [read], [f"half_{place}"], to=TensorProto.FLOAT16)
        model.graph.node.insert(0, cast)
    names = [f"half_{place}" for place in range(len(model.graph.node[3].input))]
    model.graph.node[3].input[:] = names


def no_batch(model: onnx.ModelProto) -> None:
    del inputs(model)[0].type.tensor_type.shape.dim[0]


def conditional(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "If"


def half_inside(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.ones(4, np.float16), "value")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["half"], value=value))


def labels_apart(model: onnx.ModelProto) -> None:
    ended_by(model, "Sigmoid")


def labels_apart_roughly(model: onnx.ModelProto) -> None:
    ended_by(model, "HardSigmoid")


def class_alone(model: onnx.ModelProto) -> None:
    ended_by(model, "ArgMax")


def ended_by(model: onnx.ModelProto, operator: str) -> None:
    output = model.graph.output[0].name
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node(operator, ["before"], ["flat_answer"]))
    model.graph.node.append(helper.make_node("Identity", ["flat_answer"], [output]))


def double_output(model: onnx.ModelProto) -> None:
    output = model.graph.output[0]
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Cast", ["before"], [output.name], to=TensorProto.DOUBLE))
    output.type.tensor_type.elem_type = TensorProto.DOUBLE


def fixed_inside(model: onnx.ModelProto) -> None:
    add = next(node for node in model.graph.node if node.op_type == "Reshape")
    add.op_type = "Squeeze"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3]), "axes"))
    add.input[1] = "axes"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    model.graph.node.insert(
        len(model.graph.node) - 1, helper.make_node("Unsqueeze", ["vector", "first"], ["row"])
    )
    model.graph.node[-1].input[0] = "row"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (add_input, r"expected one input, the images; found 2 \(image, scale\)"),
        (add_output, r"expected one output.*found 2 \(logits, r1\)"),
        (foreign, "no standard ones: com.microsoft.FusedConv"),
        (quantised, "already quantised with QLinearConv"),
        (training, r"exported in training mode \(norm\)"),
        (half, "in float16; give the float32 file"),
        (half_inside, "in float16; give the float32 file"),
        (labels_apart, r"for each class by itself \(Sigmoid\), as networks of several labels"),
        (labels_apart_roughly, r"for each class by itself \(HardSigmoid\)"),
        (class_alone, r"the class alone \(ArgMax\)"),
        (double_output, "as float32; found logits as double"),
        (brain_float, "in bfloat16; give the float32 file"),
        (half_on_its_way, "in float16; give the float32 file"),
        (sixteen_bit_pixels, "expected images as float32 or uint8; found uint16"),
        (grey, r"three channels; found image \[1, 1, 8, 8\]"),
        (grey_last, r"three channels; found image \[1, 8, 8, 1\]"),
        (with_alpha, r"three channels; found image \[1, 4, 8, 8\]: the server decodes pictures to RGB"),
        (no_batch, r"expected a batch of images.*\[3, 8, 8\]"),
        (conditional, "If in the graph, which cannot be cut through"),
        (fixed_inside, r"fixed to 1 image\(s\) at a time"),
    ],
)
def test_what_cannot_be_cut_is_refused_by_name(
    spoil: Callable[[onnx.ModelProto], None], said: str, tmp_path: Path
) -> None:
    model = classifier(batch=1)
    spoil(model)
    with pytest.raises(AdoptError, match=said):
        read_network(saved(model, tmp_path))


def test_no_file_and_no_onnx_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AdoptError, match="found none that can be read"):
        read_network(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_bytes(b"\xff not onnx")
    with pytest.raises(AdoptError, match="cannot be parsed"):
        read_network(tmp_path / "text.onnx")


def test_weights_in_files_beside_it_are_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(
        classifier(),
        path,
        save_as_external_data=True,
        location="net.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    network = read_network(path)
    np.testing.assert_allclose(answers(network, 2), original(network, 2), atol=1e-6)
    (tmp_path / "net.bin").unlink()
    with pytest.raises(AdoptError, match="weights lie in other files, which cannot be read"):
        read_network(path)
