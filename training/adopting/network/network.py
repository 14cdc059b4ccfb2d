"""A trained classifier as a graph that can be cut: one batch of images in, one row of numbers per image out.

A file becomes a `Network` by running it. Tensors are what they are at two and at three images; what is
computed
from shapes alone and is the same at both is a constant; what is not goes back to one place that counts the
images. Nothing is guessed from the names of operators, and what comes out is held against the file as it was.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from serving.errors import EngineError
from training.adopting.network import probing, reading
from training.adopting.network.batch import BATCH, fixed_batch, free_batch
from training.adopting.network.onnx_flops import node_flops
from training.adopting.network.probing import Array
from training.adopting.network.reading import Onnx, inputs
from training.errors import AdoptError
from training.exporting.graph import refill

Layout = Literal["NCHW", "NHWC"]

TOLERANCE = 1e-4
"""Largest difference of a probability from the original file's; float32 rounding is a hundred times less."""

_COUNT = "adopting.image_count"
_SHAPES = ("Shape", "Size")
_LARGEST_CONSTANT = 1 << 20
_CHANNELS = 3


@dataclass(frozen=True)
class Network:
    """A classifier, ready to be cut.

    Args:
        name: for messages and the manifest.
        sha256: of the file it comes from.
        model: the batch free; shapes folded to constants; inputs and output as named here.
        original: the bytes of the file as it was.
        layout: of the images.
        dtype: of the images, `float32` or `uint8`.
        height: of the images, in pixels.
        width: likewise.
        classes: how many numbers come out for each image.
        ends_in: what these are.
        shapes: of every tensor that is computed from the images and has a row for each of them, the rows
            left out.
        node_flops: per operator of `model`, for one image.
        class_names: in the order of the output, where they are known.
        normalise: what the weights were trained with, where it is known.
    """

    name: str
    sha256: str
    model: onnx.ModelProto
    original: bytes
    layout: Layout
    dtype: str
    height: int
    width: int
    classes: int
    ends_in: Literal["logits", "probabilities"]
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    node_flops: tuple[int, ...] = field(repr=False)
    class_names: tuple[str, ...] | None = None
    normalise: str | None = None

    @property
    def image(self) -> str:
        """Return the name of the input."""
        return str(inputs(self.model)[0].name)

    @property
    def output(self) -> str:
        """Return the name of the output."""
        return str(self.model.graph.output[0].name)

    @property
    def flops(self) -> int:
        """Return what one image costs."""
        return sum(self.node_flops)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Return the shape of one image as the network takes it."""
        if self.layout == "NCHW":
            return (_CHANNELS, self.height, self.width)
        return (self.height, self.width, _CHANNELS)


def read_network(path: Path, image_size: int | None = None) -> Network:
    """Read a classifier's ONNX file.

    Args:
        path: the file.
        image_size: height and width in pixels, where the file leaves them open.

    Raises:
        AdoptError: it cannot be read, or not be cut.
    """
    return network(reading.read_onnx(path), image_size)


def network(found: Onnx, image_size: int | None = None) -> Network:
    """Make a graph ready to be cut.

    Raises:
        AdoptError: it cannot be, with what is in the way.
    """
    layout, height, width = _image_shape(found, image_size)
    dtype = "uint8" if found.image.type.tensor_type.elem_type == onnx.TensorProto.UINT8 else "float32"
    shape = (_CHANNELS, height, width) if layout == "NCHW" else (height, width, _CHANNELS)
    batch = fixed_batch(found.model) or 1
    images = probing.random_images((6 * batch, *shape), dtype)
    model = _sized(found.model, shape)
    if fixed_batch(model) is not None:
        model = free_batch(model, probing.inner_values(found.name, model, images[:batch]))
    try:
        two, three = (probing.inner_values(found.name, model, images[:rows]) for rows in (2, 3))
    except AdoptError as error:
        raise _fixed(found.name, batch, str(error)) if batch == fixed_batch(found.model) else error from error
    model = _folded(model, two, three)
    shapes = {
        name: value.shape[1:]
        for name, value in two.items()
        if value.shape[:1] == (2,) and three[name].shape == (3, *value.shape[1:])
    }
    output = model.graph.output[0].name
    classes = _classes(found.name, two[output].shape)
    _check_same(found, model, images, batch, len(two[output].shape))
    flat = _flat(model, len(two[output].shape))
    last = reading.last_operator(flat)
    at_two, at_three = ({name: value.shape for name, value in values.items()} for values in (two, three))
    return Network(
        name=found.name,
        sha256=found.sha256,
        model=flat,
        original=found.original,
        layout=layout,
        dtype=dtype,
        height=height,
        width=width,
        classes=classes,
        ends_in="probabilities" if last is not None and last.op_type == "Softmax" else "logits",
        shapes={**shapes, output: (classes,)},
        node_flops=tuple(node_flops(flat, at_two, at_three)),
        class_names=None,
    )


def _image_shape(found: Onnx, image_size: int | None) -> tuple[Layout, int, int]:
    dimensions = [
        dim.dim_value if dim.HasField("dim_value") else None for dim in found.image.type.tensor_type.shape.dim
    ]
    said = f"{found.image.name} {_listed(dimensions)}"
    if len(dimensions) != len(("N", "C", "H", "W")):
        raise AdoptError(
            f"{found.name}: expected a batch of images, [N, 3, H, W] or [N, H, W, 3]; found {said}"
        )
    first, last = dimensions[1], dimensions[3]
    if _CHANNELS not in (first, last):
        raise AdoptError(
            f"{found.name}: expected images of three channels; found {said}: the server decodes pictures to "
            "RGB"
        )
    layout: Layout = "NCHW" if first == _CHANNELS else "NHWC"
    height, width = dimensions[2:] if layout == "NCHW" else dimensions[1:3]
    if image_size is None and (height is None or width is None):
        raise AdoptError(f"{found.name}: its images have no fixed size ({said}): give one by --image-size")
    if image_size is not None and {height, width} - {None, image_size}:
        raise AdoptError(f"{found.name}: --image-size {image_size} does not fit its images, {said}")
    return layout, height or image_size or 0, width or image_size or 0


def _sized(model: onnx.ModelProto, shape: tuple[int, ...]) -> onnx.ModelProto:
    model = copy.deepcopy(model)
    dimensions = inputs(model)[0].type.tensor_type.shape.dim
    if not dimensions[0].HasField("dim_value"):
        dimensions[0].dim_param = BATCH
    for dim, size in zip(dimensions[1:], shape, strict=False):
        dim.dim_value = size
    return model


def _folded(model: onnx.ModelProto, two: Mapping[str, Array], three: Mapping[str, Array]) -> onnx.ModelProto:
    """Fold what is computed from shapes alone and does not change with the number of images."""
    image = inputs(model)[0].name
    seen = probing.reached(model, {image}, blind=_SHAPES)
    constant = {
        name
        for name, value in two.items()
        if name not in seen and value.nbytes <= _LARGEST_CONSTANT and np.array_equal(value, three[name])
    }
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        outputs = [name for name in node.output if name]
        if outputs and all(name in constant for name in outputs):
            continue
        if node.op_type == "Shape" and node.input[0] in seen:
            read = two[node.input[0]].shape, three[node.input[0]].shape
            if read[0] == (2, *read[0][1:]) and read[1] == (3, *read[0][1:]):
                kept += _counted(model.graph, node, read[0])
                continue
        kept.append(node)
    used = {name for node in kept for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(two[name]), name) for name in sorted(constant & used)
    )
    if _COUNT in used:
        kept.insert(0, helper.make_node("Shape", [image], [_COUNT], start=0, end=1))
    refill(model.graph.node, _needed(kept, model.graph.output[0].name))
    return model


def _counted(graph: onnx.GraphProto, node: onnx.NodeProto, shape: tuple[int, ...]) -> list[onnx.NodeProto]:
    """Take the number of rows from the images, so that the tensor it came from is not read for it."""
    places = {attribute.name: attribute.i for attribute in node.attribute}
    wanted = range(len(shape))[places.get("start", 0) : places.get("end", len(shape))]
    rest = f"{node.output[0]}_rest"
    graph.initializer.append(
        numpy_helper.from_array(np.array([shape[at] for at in wanted[1:]], np.int64), rest)
    )
    return [helper.make_node("Concat", [_COUNT, rest], [node.output[0]], axis=0)]


def _needed(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    read, kept = {output}, []
    for node in reversed(nodes):
        if read.intersection(node.output):
            read.update(node.input)
            kept.append(node)
    return kept[::-1]


def _classes(name: str, shape: tuple[int, ...]) -> int:
    if len(shape) not in (2, 4) or set(shape[2:]) - {1} or shape[0] != 2 or shape[1] < 2:
        raise AdoptError(
            f"{name}: expected one number for each of at least two classes, [N, C]; found "
            f"{_listed([None, *shape[1:]])}"
        )
    return shape[1]


def _check_same(found: Onnx, model: onnx.ModelProto, images: Array, batch: int, rank: int) -> None:
    """Hold the freed and folded graph against the file as it was, at several numbers of images."""
    try:
        expected = np.concatenate(
            [
                next(iter(probing.run(found.original, images[start : start + batch]).values()))
                for start in range(0, len(images), batch)
            ]
        )
        answers = [
            next(iter(probing.run(model, images[start:stop]).values()))
            for start, stop in ((0, 1), (1, 4), (4, len(images)))
        ]
    except EngineError as error:
        raise _fixed(found.name, batch, str(error)) from error
    apart = np.abs(np.concatenate(answers) - expected).max() / max(1.0, float(np.abs(expected).max()))
    if not apart <= TOLERANCE:
        raise _fixed(found.name, batch, f"outputs differ by {apart:.1e}")


def _fixed(name: str, batch: int, why: str) -> AdoptError:
    return AdoptError(
        f"{name}: fixed to {batch} image(s) at a time in a way that cannot be freed ({why}): export it "
        "again with a dynamic batch dimension"
    )


def _flat(model: onnx.ModelProto, rank: int) -> onnx.ModelProto:
    """End in [N, C] where the output was [N, C, 1, 1]."""
    output = model.graph.output[0]
    name = output.name
    if rank > len(("N", "C")):
        for node in model.graph.node:
            for place, read in enumerate(node.output):
                node.output[place] = f"{name}_map" if read == name else read
        model.graph.node.append(helper.make_node("Flatten", [f"{name}_map"], [name], axis=1))
    del output.type.tensor_type.shape.dim[:]
    return model


def _listed(shape: list[int | None]) -> str:
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"
