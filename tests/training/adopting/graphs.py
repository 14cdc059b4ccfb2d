"""Tiny ONNX classifiers, made with onnx.helper alone: no torch, no training."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 8
CLASSES = 4


def classifier(
    *,
    channels: int = 4,
    size: int = SIZE,
    classes: int = CLASSES,
    batch: int | str = "N",
    layout: str = "NCHW",
    softmax: bool = False,
    spatial_output: bool = False,
    dtype: int = TensorProto.FLOAT,
    opset: int = 18,
    seed: int = 0,
) -> onnx.ModelProto:
    """Return two convolutions with a residual connection, an average and a linear layer."""
    rng = np.random.default_rng(seed)
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def weight(name: str, *shape: int) -> str:
        values = rng.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:] or (1,)))
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def add(operator: str, read: list[str], made: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, read, [made], **attributes))
        return made

    image = "image"
    if dtype == TensorProto.UINT8:
        image = add("Cast", [image], "as_float", to=TensorProto.FLOAT)
    if layout == "NHWC":
        image = add("Transpose", [image], "planes", perm=[0, 3, 1, 2])
    square = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    first = add("Conv", [image, weight("w1", channels, 3, 3, 3), weight("b1", channels)], "c1", **square)
    first = add("Relu", [first], "r1")
    second = add("Conv", [first, weight("w2", channels, channels, 3, 3)], "c2", **square)
    joined = add("Add", [second, first], "sum")
    second = add("Relu", [joined], "r2")
    if spatial_output:
        third = add("Conv", [second, weight("w3", classes, channels, 1, 1)], "c3")
        output = add("GlobalAveragePool", [third], "logits")
    else:
        average = add("GlobalAveragePool", [second], "average")
        shape = numpy_helper.from_array(np.array([batch if isinstance(batch, int) else -1, channels]), "flat")
        weights.append(shape)
        flat = add("Reshape", [average, "flat"], "vector")
        output = add("Gemm", [flat, weight("w4", channels, classes), weight("b4", classes)], "logits")
    if softmax:
        output = add("Softmax", [output], "probabilities")
    pixels = [3, size, size] if layout == "NCHW" else [size, size, 3]
    made = [classes, 1, 1] if spatial_output else [classes]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", dtype, [batch, *pixels])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, *made])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in QDQ form: the weights of convolutions as int8, what they read as uint8."""
    made = copy.deepcopy(model)
    graph = made.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Any] = {
        "step": np.float32(0.05),
        "middle": np.uint8(128),
        "zero": np.int8(0),
    }
    for node in graph.node:
        if node.op_type == "Conv":
            read, weight = node.input[0], node.input[1]
            scale = np.float32(np.abs(weights[weight]).max() / 127)
            constants[f"{weight}_scale"] = scale
            constants[f"{weight}_bytes"] = np.rint(weights[weight] / scale).astype(np.int8)
            nodes += [
                helper.make_node("QuantizeLinear", [read, "step", "middle"], [f"{node.output[0]}_q"]),
                helper.make_node(
                    "DequantizeLinear", [f"{node.output[0]}_q", "step", "middle"], [f"{node.output[0]}_dq"]
                ),
                helper.make_node(
                    "DequantizeLinear", [f"{weight}_bytes", f"{weight}_scale", "zero"], [f"{weight}_dq"]
                ),
            ]
            node.input[0], node.input[1] = f"{node.output[0]}_dq", f"{weight}_dq"
        nodes.append(node)
    kept = copy.deepcopy(nodes)
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return made


def saved(model: onnx.ModelProto, folder: Path, name: str = "net") -> Path:
    """Write a model and return the file."""
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path
