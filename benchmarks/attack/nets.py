"""Bundles and images for the attacks: a tiny net, one that takes milliseconds, and one that can be hung."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.speed.client import as_png
from serving.bundle import write_bundle
from tests.bundles import tiny_bundle, tiny_calibration, tiny_images, tiny_manifest, tiny_segments

_WIDTH = 512
HANGING_PIXEL = 255
"""An image whose every pixel has this value never leaves the hanging net."""


def tiny(folder: Path) -> Path:
    """Write the tiny net of the tests; return the folder of models."""
    tiny_bundle(folder / "tiny")
    return folder


def slow(folder: Path, products: int) -> Path:
    """Write the tiny net with so many products of 512 x 512 an image in its first segment."""
    model = onnx.load_from_string(tiny_segments()[0])
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32) / 30, name)
        for name, shape in (("w_in", (48, _WIDTH)), ("w_more", (_WIDTH, _WIDTH)), ("w_out", (_WIDTH, 8)))
    ]
    nodes, last = [helper.make_node("MatMul", ["pixels", "w_in"], ["busy_0"])], "busy_0"
    for number in range(products):
        nodes += [
            helper.make_node("MatMul", [last, "w_more"], [f"more_{number}"]),
            helper.make_node("Tanh", [f"more_{number}"], [f"busy_{number + 1}"]),
        ]
        last = f"busy_{number + 1}"
    nodes.append(helper.make_node("MatMul", [last, "w_out"], ["extra"]))
    _insert(model, nodes, weights)
    return _write(folder, "slow", model)


def hanging(folder: Path) -> Path:
    """Write the tiny net with a loop that never ends once an image is white all over."""
    model = onnx.load_from_string(tiny_segments()[0])
    boolean = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["goes_on"], ["goes_on_out"]),
            helper.make_node("Identity", ["kept"], ["kept_out"]),
        ],
        "body",
        [
            boolean("step", TensorProto.INT64, []),
            boolean("goes_on", TensorProto.BOOL, []),
            boolean("kept", TensorProto.FLOAT, None),
        ],
        [
            boolean("goes_on_out", TensorProto.BOOL, []),
            boolean("kept_out", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("ReduceMin", ["float"], ["least"], keepdims=0),
        helper.make_node("Equal", ["least", "white"], ["is_white"]),
        helper.make_node("Loop", ["", "is_white", "zeros"], ["extra"], body=body),
    ]
    weights = [
        numpy_helper.from_array(np.array(HANGING_PIXEL, np.float32), "white"),
        numpy_helper.from_array(np.zeros((1, 8), np.float32), "zeros"),
    ]
    _insert(model, nodes, weights)
    return _write(folder, "hanging", model)


def endless(folder: Path) -> Path:
    """Write the tiny net with a loop that never ends, whatever the image."""
    hanging(folder)
    path = folder / "hanging"
    model = onnx.load_from_string((path / "segment_1.onnx").read_bytes())
    for weight in model.graph.initializer:
        if weight.name == "white":
            weight.CopyFrom(numpy_helper.from_array(np.array(0, np.float32), "white"))
    for name in ("calibration.npz", "manifest.json", *(f"segment_{n}.onnx" for n in (1, 2, 3))):
        (path / name).unlink()
    path.rmdir()
    return _write(folder, "endless", model)


def png(count: int = 1, seed: int = 0) -> bytes:
    """Return one image as the tiny nets take it."""
    return as_png(tiny_images(count, seed)[-1])


def white() -> bytes:
    """Return the image that hangs the hanging net."""
    return as_png(np.full((8, 8, 3), HANGING_PIXEL, np.uint8))


def npy(count: int, seed: int = 0) -> bytes:
    """Return so many images as an `.npy` body."""
    stream = BytesIO()
    np.save(stream, tiny_images(count, seed))
    return stream.getvalue()


def zeros_png(side: int) -> bytes:
    """Return a black PNG of side x side pixels: a thousandth of the bytes that it takes to decode it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + 3 * side)
    packed = b"".join([packer.compress(row) for _ in range(side)]) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _insert(model: onnx.ModelProto, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> None:
    """Put nodes that make `extra`, float [N, 8] or [1, 8], before the sum that the state is made of."""
    place = next(index for index, node in enumerate(model.graph.node) if node.op_type == "Tanh")
    tanh = model.graph.node[place]
    nodes.append(helper.make_node("Add", [tanh.input[0], "extra"], ["with_extra"]))
    tanh.input[0] = "with_extra"
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*kept[:place], *nodes, *kept[place:]])
    model.graph.initializer.extend(weights)


def _write(folder: Path, name: str, first: onnx.ModelProto) -> Path:
    segments = [first.SerializeToString(deterministic=True), *tiny_segments()[1:]]
    write_bundle(folder / name, tiny_manifest(), segments, tiny_calibration())
    return folder
