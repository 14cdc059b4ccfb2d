"""A two-exit convolutional net made with onnx.helper: exported as `export_whole` would, without torch."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import TensorSpec
from training.exporting.graph import Boundary
from training.exporting.int8 import Images

SIZE, CLASSES, WIDTH = 8, 4, 8

FEATURES = TensorSpec(name="features_1_1", dtype="float32", shape=(None, WIDTH, SIZE, SIZE))
PARTS = [
    Boundary(
        (TensorSpec(name="images", dtype="uint8", shape=(None, SIZE, SIZE, 3)),),
        (TensorSpec(name="probabilities_1", dtype="float32", shape=(None, CLASSES)), FEATURES),
    ),
    Boundary((FEATURES,), (TensorSpec(name="probabilities_2", dtype="float32", shape=(None, CLASSES)),)),
]


def small_net(outlier: float = 1.0) -> onnx.ModelProto:
    """Return the whole net.

    Args:
        outlier: how much larger than the others one channel of `first` is. Layer `second` takes that back: in
            float the answers are the same whatever it is, and in int8 it leaves the other channels no room.
    """
    rng = np.random.default_rng(0)
    scale = np.ones(WIDTH)
    scale[0] = outlier

    def he(*shape: int) -> npt.NDArray[np.float64]:
        values: npt.NDArray[np.float64] = rng.standard_normal(shape)
        return values * float(np.sqrt(2 / np.prod(shape[1:])))

    weights = {
        "mean": np.array(127.5),
        "std": np.array(73.6),
        "first.weight": he(WIDTH, 3, 3, 3) * scale[:, None, None, None],
        "second.weight": he(WIDTH, WIDTH, 3, 3) / scale[None, :, None, None],
        "third.weight": he(WIDTH, WIDTH, 3, 3),
        "first.bias": rng.uniform(-0.2, 0.2, WIDTH) * scale,
        "second.bias": rng.uniform(-0.2, 0.2, WIDTH),
        "third.bias": rng.uniform(-0.2, 0.2, WIDTH),
        "head_1.weight": he(CLASSES, WIDTH * SIZE * SIZE) * 3,
        "head_1.bias": np.zeros(CLASSES),
        "head_2.weight": he(CLASSES, WIDTH * SIZE * SIZE) * 3,
        "head_2.bias": np.zeros(CLASSES),
    }
    node = helper.make_node
    nodes = [
        node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]),
        node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        node("Sub", ["numbers", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["scaled"]),
        *_convolution("first", "scaled", "relu_1"),
        *_convolution("second", "relu_1", "features_1_1"),
        *_head(1, "features_1_1"),
        *_convolution("third", "features_1_1", "relu_3"),
        *_head(2, "relu_3"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("images", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [
            value(spec.name, TensorProto.FLOAT, ["N", *spec.shape[1:]])
            for part in PARTS
            for spec in part.outputs
        ],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def small_images(count: int, seed: int = 0) -> Images:
    """Random images of patches, uint8 [count, 8, 8, 3]: flat enough that their means differ."""
    patches = np.random.default_rng(seed).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    return patches.repeat(SIZE // 2, axis=1).repeat(SIZE // 2, axis=2)


def _convolution(name: str, source: str, target: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node(
            "Conv", [source, f"{name}.weight", f"{name}.bias"], [f"{name}_sum"], name=name, pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", [f"{name}_sum"], [target], name=f"{name}_relu"),
    ]


def _head(number: int, source: str) -> list[onnx.NodeProto]:
    flat, linear = f"flat_{number}", f"linear_{number}"
    return [
        helper.make_node("Flatten", [source], [flat], name=f"flatten_{number}"),
        helper.make_node(
            "Gemm", [flat, f"head_{number}.weight", f"head_{number}.bias"], [linear], name=linear, transB=1
        ),
        helper.make_node("Softmax", [linear], [f"probabilities_{number}"], name=f"softmax_{number}"),
    ]
