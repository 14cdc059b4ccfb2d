"""Shapes and values of a graph's tensors, found by running it on a few images."""

import copy
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from serving.engine.providers import CPU
from serving.engine.sessions import open_session
from serving.errors import EngineError
from training.adopting.network.reading import inputs
from training.errors import AdoptError

Array = npt.NDArray[Any]


def run(
    model: onnx.ModelProto | bytes, image: Array, outputs: Collection[str] | None = None
) -> dict[str, Array]:
    """Run a graph with one input.

    Args:
        model: the graph.
        image: what goes into its only input.
        outputs: tensors that are wanted, of the graph's own outputs; all of these where None.

    Raises:
        EngineError: ONNX Runtime cannot load or run it.
    """
    session = open_session(model if isinstance(model, bytes) else model.SerializeToString(), 1, [CPU])
    names = [value.name for value in session.get_outputs()] if outputs is None else list(outputs)
    try:
        return dict(zip(names, session.run(names, {session.get_inputs()[0].name: image}), strict=True))
    except Exception as error:  # ONNX Runtime's own classes are not public
        raise EngineError(str(error).splitlines()[0]) from error


def inner_values(name: str, model: onnx.ModelProto, image: Array) -> dict[str, Array]:
    """Return every tensor that is computed from the image, the image itself included.

    Raises:
        AdoptError: it does not run.
    """
    wanted = [output for node in model.graph.node for output in node.output if output]
    needed = reached(model, {inputs(model)[0].name})
    wanted = [output for output in wanted if output in needed]
    opened = copy.deepcopy(model)
    known = {value.name for value in opened.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=output) for output in wanted if output not in known)
    try:
        return {inputs(model)[0].name: image, **run(opened, image, wanted)}
    except EngineError as error:
        raise AdoptError(
            f"{name}: does not run on {len(image)} images of {_shape(image)}: {error}"
        ) from error


def reached(model: onnx.ModelProto, start: Collection[str], blind: Collection[str] = ()) -> set[str]:
    """Return the tensors that depend on those in `start`; operators in `blind` pass nothing on."""
    found = set(start)
    for node in model.graph.node:
        if node.op_type not in blind and found.intersection(node.input):
            found.update(output for output in node.output if output)
    return found


def random_images(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    """Return noise that an image classifier runs on: uint8, or float32 about zero."""
    rng = np.random.default_rng(seed)
    if dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.standard_normal(shape, dtype=np.float32)


def _shape(image: Array) -> str:
    return "×".join(str(size) for size in image.shape[1:])
