"""A model's inputs and outputs as tensors, and the protocol's description of them.

N images, H x W pixels, C classes. The extensions that are served have the names that Triton gave them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from serving.web.served import ServedModel

PLATFORM = "onnx_early_exit"
BACKEND = "offramp"
EXTENSIONS = ("classification", "model_configuration", "model_repository", "statistics")
HTTP_EXTENSIONS = ("binary_tensor_data", *EXTENSIONS)

INPUT = "images"
PIXELS, ENCODED = "UINT8", "BYTES"
PROBABILITIES = "probabilities"


class Tensor(NamedTuple):
    """A tensor by its name, its datatype, and its shape after N, in elements."""

    name: str
    datatype: str
    shape: Sequence[int]


def input_of(model: ServedModel) -> Tensor:
    """Return the one input: images as pixels, at the model's own size."""
    spec = model.manifest.preprocessing
    return Tensor(INPUT, PIXELS, (spec.height, spec.width, 3))


def outputs_of(model: ServedModel) -> Sequence[Tensor]:
    """Return the outputs, in the order in which they are answered."""
    return (
        Tensor(PROBABILITIES, "FP32", (len(model.manifest.classes),)),
        Tensor("class_index", "INT64", ()),
        Tensor("confidence", "FP32", ()),
        Tensor("exit", "INT32", ()),
        Tensor("flops", "INT64", ()),
    )


def properties_of(model: ServedModel) -> Mapping[str, str]:
    """Say in words what a signature has no place for."""
    return {
        "also_accepts": f"{INPUT} as {ENCODED} [N]: PNG, JPEG or WebP images of any size",
        "parameters": "budget, mode, deadline_ms, max_drop",
        "exits": ", ".join(f"{flops} FLOPs" for flops in model.exit_flops),
    }


def metadata_of(model: ServedModel, versions: Sequence[str]) -> dict[str, Any]:
    """Describe a model as the protocol's metadata do.

    Args:
        model: one version of it.
        versions: all that are loaded.
    """
    return {
        "name": model.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [_described(input_of(model))],
        "outputs": [_described(tensor) for tensor in outputs_of(model)],
        "properties": dict(properties_of(model)),
    }


def config_of(model: ServedModel, max_images: int) -> dict[str, Any]:
    """Describe a model as Triton's model configuration does; shapes are without N.

    Args:
        model: which.
        max_images: the most in one request.
    """
    outputs: list[dict[str, Any]] = [
        {"name": tensor.name, "data_type": _type(tensor.datatype), "dims": list(tensor.shape) or [1]}
        # A batch of numbers is [N]; the configuration has no word for no dimension but this one.
        | ({} if tensor.shape else {"reshape": {"shape": []}})
        for tensor in outputs_of(model)
    ]
    taken = input_of(model)
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": BACKEND,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_images,
        "input": [{"name": taken.name, "data_type": _type(taken.datatype), "dims": list(taken.shape)}],
        "output": outputs,
        "parameters": {name: {"string_value": text} for name, text in properties_of(model).items()},
    }


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": [-1, *tensor.shape]}


def _type(datatype: str) -> str:
    return f"TYPE_{datatype}"
