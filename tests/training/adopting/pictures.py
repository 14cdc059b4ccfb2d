"""Folders of tiny images whose class shows: the brightest of four quarters."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.training.adopting.graphs import SIZE

CLASSES = ("east", "north", "south", "west")
_NEAR, _FAR = slice(0, 4), slice(4, 8)
_QUARTERS = ((_NEAR, _NEAR), (_NEAR, _FAR), (_FAR, _NEAR), (_FAR, _FAR))


def pictures(
    count: int, seed: int, contrast: int = 60
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return noisy images uint8 [count, 8, 8, 3], and which quarter of each is brighter."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = rng.integers(40, 150, (count, SIZE, SIZE, 3)).astype(np.int64)
    for image, label in zip(images, labels, strict=True):
        image[_QUARTERS[label]] += rng.integers(20, contrast)
    return images.clip(0, 255).astype(np.uint8), labels


def folder(place: Path, count: int = 80, seed: int = 0, *, flat: bool = False) -> Path:
    """Write images by class, or side by side without a class."""
    images, labels = pictures(count, seed)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        where = place if flat else place / CLASSES[label]
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(where / f"{number:04}.png")
    return place


def quarters(
    noise: float = 0.0,
    *,
    order: tuple[int, ...] = (0, 1, 2, 3),
    layout: str = "NCHW",
    size: int = SIZE,
    work: int = 4,
    depth: int = 1,
    seed: int = 0,
) -> onnx.ModelProto:
    """Return a classifier that takes images of 0..1 and knows the quarters, the better the less noise.

    Args:
        noise: of its weights.
        order: for each output, the quarter that it stands for.
        layout: of the images.
        size: of the images.
        work: channels of the convolutions: what they cost.
        depth: how many convolutions there are; all but the first change nothing.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    pick = np.zeros((size // 4 * 2, size // 4 * 2, 4), np.float32)
    half = size // 4
    for output, quarter in enumerate(order):
        down, right = divmod(quarter, 2)
        pick[down * half : (down + 1) * half, right * half : (right + 1) * half, output] = 10 / half**2
    linear = pick.reshape(-1, 4) + noise * rng.standard_normal((pick.shape[0] ** 2, 4)).astype(np.float32)
    weights: dict[str, npt.NDArray[np.float32]] = {
        "grey": np.full((work, 3, 3, 3), 0.0, np.float32),
        "linear": (np.concatenate([linear] * work) / work).astype(np.float32),
        "bias": np.zeros(4, np.float32),
    }
    weights["grey"][:, :, 1, 1] = 1 / 3
    image = "image"
    nodes = []
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [image], ["planes"], perm=[0, 3, 1, 2]))
        image = "planes"
    for number in range(1, depth + 1):
        name = f"w{number}"
        weights[name] = weights.pop("grey") if number == 1 else _same(work)
        nodes += [
            helper.make_node("Conv", [image, name], [f"c{number}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{number}"], [f"r{number}"]),
        ]
        image = f"r{number}"
    nodes += [
        helper.make_node("AveragePool", [image], ["cells"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("Gemm", ["flat", "linear", "bias"], ["logits"]),
    ]
    shape = [3, size, size] if layout == "NCHW" else [size, size, 3]
    graph = helper.make_graph(
        nodes,
        "quarters",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _same(channels: int) -> npt.NDArray[np.float32]:
    """Return a 3×3 convolution that changes nothing."""
    weight = np.zeros((channels, channels, 3, 3), np.float32)
    weight[np.arange(channels), np.arange(channels), 1, 1] = 1
    return weight
