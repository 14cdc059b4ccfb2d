"""An inference request as the protocol means it, whichever way it came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.errors import RequestError
from serving.web.oip.signature import INPUT, PROBABILITIES, outputs_of
from serving.web.served import ServedModel

MAX_NAMED = 64
"""The most tensors, outputs or parameters that are looked at in one request."""
_SHOWN = 60

Parameter = bool | int | float | str
Parameters = Mapping[str, Parameter]


@dataclass(frozen=True)
class JsonData:
    """The elements of a tensor as the text of a JSON list, flat or nested."""

    text: bytes | memoryview


Contents = bytes | memoryview | Sequence[bytes] | Sequence[int] | JsonData
"""Elements as raw bytes, as encoded images, as numbers, or as they stand in JSON."""


@dataclass(frozen=True)
class InputTensor:
    """A tensor that a caller sent.

    Args:
        name: as the caller calls it.
        datatype: `UINT8` or `BYTES`, else it is refused.
        shape: in elements.
        contents: the elements.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    contents: Contents


@dataclass(frozen=True)
class RequestedOutput:
    """A tensor that a request asks for.

    Args:
        name: of the tensor.
        top: how many of the likeliest classes to name in place of all numbers; None for the numbers.
        binary: whether to send it as bytes; over gRPC all are.
    """

    name: str
    top: int | None = None
    binary: bool = False


@dataclass(frozen=True)
class InferRequest:
    """A caller's images and options.

    Args:
        tensor: its images.
        parameters: of the request; those of the transport are gone.
        outputs: the tensors asked for; none is every output.
        binary: whether outputs go out as bytes where none are named.
        request_id: given back as it came.
    """

    tensor: InputTensor
    parameters: Parameters
    outputs: Sequence[RequestedOutput]
    binary: bool = False
    request_id: str = ""


def the_only(tensors: Sequence[InputTensor]) -> InputTensor:
    """Return the one input.

    Raises:
        RequestError: there are none, several, or it has another name.
    """
    if len(tensors) != 1:
        raise RequestError(f"expected one input, {INPUT!r}, found {len(tensors)}")
    if tensors[0].name != INPUT:
        raise RequestError(f"expected the input {INPUT!r}, found {tensors[0].name[:_SHOWN]!r}")
    return tensors[0]


def requested(name: str, parameters: Parameters, *, binary: bool) -> RequestedOutput:
    """Read one requested output; whether the model has it is for `wanted` to say.

    Args:
        name: of the output.
        parameters: `classification`, the number of likeliest classes; `binary_data`.
        binary: what holds where there is no `binary_data`.

    Raises:
        RequestError: another parameter, or a value that cannot be used.
    """
    for unknown in parameters.keys() - {"classification", "binary_data"}:
        raise RequestError(
            f"output {name[:_SHOWN]!r}: unknown parameter {unknown[:_SHOWN]!r}: expected classification or "
            "binary_data"
        )
    top = parameters.get("classification")
    if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1):
        raise RequestError(f"expected classification to be a number of classes, 1 or more, found {top!r:.60}")
    binary_data = parameters.get("binary_data", binary)
    if not isinstance(binary_data, bool):
        raise RequestError(f"expected binary_data to be true or false, found {binary_data!r:.60}")
    if top is not None and name != PROBABILITIES:
        raise RequestError(f"classification is of the output {PROBABILITIES!r}, not of {name[:_SHOWN]!r}")
    return RequestedOutput(name, top, binary_data)


def wanted(request: InferRequest, model: ServedModel) -> Sequence[RequestedOutput]:
    """Return the outputs of a model that a request asks for; all where it names none.

    Raises:
        RequestError: one that the model has not, or one named twice.
    """
    names = [tensor.name for tensor in outputs_of(model)]
    if not request.outputs:
        return [RequestedOutput(name, binary=request.binary) for name in names]
    seen: set[str] = set()
    for output in request.outputs:
        if output.name not in names:
            raise RequestError(f"expected outputs among {', '.join(names)}, found {output.name[:_SHOWN]!r}")
        if output.name in seen:
            raise RequestError(f"the output {output.name!r} is asked for twice: name it once")
        seen.add(output.name)
    return request.outputs
