"""Freeing the batch: graphs that were exported for a fixed number of images take any number of them.

Exporters write the batch size into constants: the shapes of Reshape and Expand, and what Concat joins to
every image (a transformer's class token). A run of the freed graph shows that nothing was overlooked.
"""

import copy
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from training.adopting.network.probing import Array
from training.adopting.network.reading import inputs
from training.exporting.graph import refill

BATCH = "N"


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """Return the number of images that a graph was exported for; None where it is free."""
    first = inputs(model)[0].type.tensor_type.shape.dim[0]
    return first.dim_value if first.HasField("dim_value") else None


def free_batch(model: onnx.ModelProto, values: Mapping[str, Array]) -> onnx.ModelProto:
    """Return the graph with its batch free.

    Args:
        model: with a fixed batch.
        values: every tensor that is computed from the images, of a run at that batch.
    """
    batch = fixed_batch(model) or 1
    freed = copy.deepcopy(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in freed.graph.initializer}
    constants |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in freed.graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    image = inputs(freed)[0].name
    count = f"adopting.{image}_rows"
    nodes: list[onnx.NodeProto] = []
    for node in freed.graph.node:
        if node.op_type in ("Reshape", "Expand") and node.input[1] in constants:
            _free_shape(freed.graph, node, constants[node.input[1]].ravel(), values.get(node.input[0]), batch)
        if node.op_type == "Concat" and helper.get_node_attr_value(node, "axis") % _rank(node, values) != 0:
            nodes += _repeated(freed.graph, node, constants, values, (count, batch))
        nodes.append(node)
    if any(count in node.input for node in nodes):
        nodes.insert(0, helper.make_node("Shape", [image], [count], start=0, end=1))
    refill(freed.graph.node, nodes)
    for value in (inputs(freed)[0], *freed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del freed.graph.value_info[:]
    return freed


def _rank(node: onnx.NodeProto, values: Mapping[str, Array]) -> int:
    return next((values[name].ndim for name in node.output if name in values), 1)


def _free_shape(
    graph: onnx.GraphProto, node: onnx.NodeProto, shape: Array, read: Array | None, batch: int
) -> None:
    if read is None or not len(shape) or shape[0] % batch or shape[0] <= 0:
        return
    freed = shape.astype(np.int64).copy()
    if node.op_type == "Expand":
        freed[0] = 1 if shape[0] == batch else shape[0]
    elif shape[0] == batch == read.shape[0]:
        freed[0] = 0  # as many as there were
    elif -1 not in shape:
        freed[0] = -1
    name = f"{node.output[0]}_shape"
    graph.initializer.append(numpy_helper.from_array(freed, name))
    node.input[1] = name


def _repeated(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    constants: Mapping[str, Array],
    values: Mapping[str, Array],
    counted: tuple[str, int],
) -> list[onnx.NodeProto]:
    """Repeat constants for every image where they are joined to something of each image."""
    count, batch = counted
    if batch != 1 or not any(name in values for name in node.input):
        return []
    added = []
    for place, name in enumerate(node.input):
        constant = constants.get(name)
        if constant is None or constant.shape[:1] != (1,):
            continue
        rest, target, repeated = f"{name}_rest", f"{name}_target", f"{name}_{node.output[0]}_repeated"
        graph.initializer.append(numpy_helper.from_array(np.array(constant.shape[1:], np.int64), rest))
        added += [
            helper.make_node("Concat", [count, rest], [target], axis=0),
            helper.make_node("Expand", [name, target], [repeated]),
        ]
        node.input[place] = repeated
    return added
