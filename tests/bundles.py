"""A tiny three-exit bundle for tests, made with onnx.helper alone: no torch, no training, a few kilobytes.

The images are uint8 [N, 8, 8, 3] of four classes. Two feature tensors go from segment to segment, so that
tuples are exercised, and every exit is a different function of the image.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from serving.bundle import (
    FORMAT_VERSION,
    ROWS,
    UNSEALED,
    Bundle,
    Calibration,
    CalibrationSpec,
    DataSet,
    Manifest,
    Named,
    Preprocessing,
    Samples,
    SegmentSpec,
    TensorSpec,
    write_bundle,
)
from serving.bundle.manifest import Arithmetic

SIZE = 8
CLASSES = ("ant", "bee", "cat", "dog")
EXIT_FLOPS = (1_000, 3_000, 7_000)
CALIBRATION_IMAGES = 400
FLOAT32 = Arithmetic(runtime="onnxruntime", precision="float32")

_CELLS = 4  # the image is pooled to 4 by 4 cells of 3 channels: 48 numbers
_FEATURES = _CELLS * _CELLS * 3
_STATE = 8
_ONNX_DTYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def tiny_bundle(
    folder: Path, *, force: bool = False, rows: bool = False, seed: int = 0, samples: Samples | None = None
) -> Bundle:
    """Write the tiny bundle; `rows` gives later segments a `rows` input, `seed` decides the weights."""
    return write_bundle(
        folder,
        tiny_manifest(rows),
        tiny_segments(rows, seed),
        tiny_calibration(),
        samples=samples,
        force=force,
    )


def tiny_samples(count: int = 3, side: int = SIZE) -> Samples:
    """Return random images as PNG files, square, of the first classes."""
    files = []
    for image in np.random.default_rng(3).integers(0, 256, (count, side, side, 3), dtype=np.uint8):
        with io.BytesIO() as file:
            Image.fromarray(image).save(file, "PNG")
            files.append(file.getvalue())
    return Samples(tuple(files), tuple(number % len(CLASSES) for number in range(count)))


def tiny_images(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return random images, uint8 [count, 8, 8, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def tiny_manifest(rows: bool = False) -> Manifest:
    """Return the draft that fits `tiny_segments` and `tiny_calibration`."""
    accuracy = tiny_calibration().accuracy
    costs = np.diff((0, *EXIT_FLOPS))
    return Manifest(
        format_version=FORMAT_VERSION,
        architecture=Named(name="tiny", options={"state": _STATE}),
        method=Named(name="none"),
        data_set=DataSet(name="synthetic", split_seed=0),
        classes=CLASSES,
        preprocessing=Preprocessing(height=SIZE, width=SIZE),
        segments=tuple(
            SegmentSpec(
                file=f"segment_{index + 1}.onnx",
                sha256=UNSEALED,
                inputs=_inputs(index, rows),
                outputs=_outputs(index),
                body_flops=int(cost) - 100,
                head_flops=100,
                validation_accuracy=accuracy[index],
            )
            for index, cost in enumerate(costs)
        ),
        precision="float32",
        calibration=CalibrationSpec(sha256=UNSEALED),
    )


def tiny_segments(rows: bool = False, seed: int = 0) -> list[bytes]:
    """Return the ONNX files of the three segments."""
    return [
        _segment(index, rows, seed).SerializeToString(deterministic=True) for index in range(len(EXIT_FLOPS))
    ]


def tiny_calibration() -> Calibration:
    """Return calibration of synthetic answers: later exits are surer and more often right."""
    random = np.random.default_rng(7)
    images, exits, classes = CALIBRATION_IMAGES, len(EXIT_FLOPS), len(CLASSES)
    labels = random.integers(0, classes, images, dtype=np.int64)
    ease = random.random((images, 1))
    surety = np.clip(ease + 0.15 * np.arange(exits) + 0.1 * random.standard_normal((images, exits)), 0, 1)
    right = random.random((images, exits)) < 0.4 + 0.6 * surety
    prediction = np.where(right, labels[:, None], (labels[:, None] + 1) % classes).astype(np.int32)
    # The highest of four probabilities is at least a quarter; different measures, different values.
    confidence = {
        "max_probability": (0.25 + 0.75 * surety).astype(np.float32),
        "margin": surety.astype(np.float32),
        "entropy": (surety**2).astype(np.float32),
    }
    return Calibration(
        labels=labels,
        prediction=prediction,
        confidence=confidence,
        temperature={name: np.ones(exits) for name in confidence},
        certify=random.permutation(np.arange(images) % 2 == 0),
    )


def _inputs(index: int, rows: bool) -> tuple[TensorSpec, ...]:
    if index == 0:
        return (TensorSpec(name="images", dtype="uint8", shape=(None, SIZE, SIZE, 3)),)
    gather = (TensorSpec(name=ROWS, dtype="int64", shape=(None,)),) if rows else ()
    return _features(index) + gather


def _outputs(index: int) -> tuple[TensorSpec, ...]:
    name = f"probabilities_{index + 1}"
    probabilities = TensorSpec(name=name, dtype="float32", shape=(None, len(CLASSES)))
    return (probabilities, *(_features(index + 1) if index + 1 < len(EXIT_FLOPS) else ()))


def _features(boundary: int) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec(name=f"pixels_{boundary}", dtype="float32", shape=(None, _FEATURES)),
        TensorSpec(name=f"state_{boundary}", dtype="float32", shape=(None, _STATE)),
    )


def _segment(index: int, rows: bool, seed: int) -> onnx.ModelProto:
    """Build: state = tanh(pixels·A [+ state]), probabilities = softmax(state·B); pixels only pass through."""
    random = np.random.default_rng((seed, index))
    weights: dict[str, npt.NDArray[Any]] = {
        "a": random.standard_normal((_FEATURES, _STATE)).astype(np.float32),
        "b": (2 * random.standard_normal((_STATE, len(CLASSES)))).astype(np.float32),
        "scale": np.array(127.5, np.float32),
        "one": np.array(1, np.float32),
        "flat": np.array([-1, _FEATURES], np.int64),
    }
    nodes = _normalise() if index == 0 else _take(index, rows)
    nodes += [helper.make_node("MatMul", ["pixels", "a"], ["seen"])]
    if index > 0:
        nodes += [helper.make_node("Add", ["seen", "state"], ["sum"])]
    last = index + 1 == len(EXIT_FLOPS)
    state = "final" if last else f"state_{index + 1}"
    nodes += [
        helper.make_node("Tanh", ["seen" if index == 0 else "sum"], [state]),
        helper.make_node("MatMul", [state, "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [f"probabilities_{index + 1}"], axis=-1),
    ]
    if not last:
        nodes += [helper.make_node("Identity", ["pixels"], [f"pixels_{index + 1}"])]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        f"segment_{index + 1}",
        _values(_inputs(index, rows)),
        _values(_outputs(index)),
        [numpy_helper.from_array(array, name) for name, array in weights.items() if name in used],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def _normalise() -> list[onnx.NodeProto]:
    half = SIZE // _CELLS
    return [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["planes"], ["cells"], kernel_shape=[half, half], strides=[half, half]
        ),
        helper.make_node("Reshape", ["cells", "flat"], ["pixels"]),
    ]


def _take(index: int, rows: bool) -> list[onnx.NodeProto]:
    """Bring the features in under the names used inside, through the `rows` input where there is one."""
    names = [(f"pixels_{index}", "pixels"), (f"state_{index}", "state")]
    if rows:
        return [helper.make_node("Gather", [outer, ROWS], [inner], axis=0) for outer, inner in names]
    return [helper.make_node("Identity", [outer], [inner]) for outer, inner in names]


def _values(specs: Sequence[TensorSpec]) -> list[onnx.ValueInfoProto]:
    """Declare tensors; features and `rows` may differ in their batch when the survivors are gathered."""
    return [
        helper.make_tensor_value_info(
            spec.name, _ONNX_DTYPES[spec.dtype], [spec.name + "_n" if d is None else d for d in spec.shape]
        )
        for spec in specs
    ]
