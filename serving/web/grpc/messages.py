"""Messages of the protocol to and from what the server works with."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from serving.errors import RequestError
from serving.web.grpc import open_inference_pb2 as pb
from serving.web.grpc.wire import has_at_most
from serving.web.oip.infer import Inference
from serving.web.oip.request import MAX_NAMED, InferRequest, InputTensor, Parameter, requested, the_only
from serving.web.oip.signature import ENCODED

Parsed = TypeVar("Parsed", bound=Message)

_MAX_ID = 256
_MAX_DIMENSIONS = 8


def parse(kind: type[Parsed], raw: bytes, most_fields: int) -> Parsed:
    """Read a message.

    Args:
        kind: what it should be.
        raw: as it was sent.
        most_fields: how many fields it may have, those of its parts included.

    Raises:
        RequestError: it is none, or has more.
    """
    name = kind.DESCRIPTOR.name
    if not has_at_most(most_fields, raw, kind.DESCRIPTOR):
        raise RequestError(
            f"expected a {name} of at most {most_fields} fields, found more: pack numbers, or send them raw"
        )
    try:
        return cast("Parsed", kind.FromString(raw))
    except DecodeError as error:
        raise RequestError(f"expected a {name}, found bytes that are none: {error}") from error


def request_of(message: pb.ModelInferRequest) -> InferRequest:
    """Take a message apart; its tensors' elements stay as they are.

    Raises:
        RequestError: it is not a request that can be answered.
    """
    if len(message.id) > _MAX_ID:
        raise RequestError(f"expected an id of at most {_MAX_ID} characters, found {len(message.id)}")
    if max(len(message.outputs), len(message.parameters)) > MAX_NAMED:
        raise RequestError(f"expected at most {MAX_NAMED} outputs and {MAX_NAMED} parameters, found more")
    raw = message.raw_input_contents
    if len(raw) not in (0, len(message.inputs)):
        raise RequestError(
            f"expected raw_input_contents for all {len(message.inputs)} inputs or for none, found {len(raw)}"
        )
    tensors = [_tensor(given, raw[index] if raw else None) for index, given in enumerate(message.inputs[:2])]
    parameters = _parameters(message.parameters)
    parameters.pop("binary_data_output", None)  # of HTTP; here all outputs are bytes
    return InferRequest(
        the_only(tensors),
        parameters,
        [requested(output.name, _parameters(output.parameters), binary=True) for output in message.outputs],
        binary=True,
        request_id=message.id,
    )


def response_of(inference: Inference) -> pb.ModelInferResponse:
    """Write an answer; its elements are raw bytes, whatever the request's were."""
    lowered = inference.budget_share < 1
    return pb.ModelInferResponse(
        model_name=inference.model,
        model_version=inference.version,
        id=inference.request_id,
        parameters={"brownout": pb.InferParameter(double_param=inference.budget_share)} if lowered else None,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=tensor.name, datatype=tensor.datatype, shape=tensor.shape
            )
            for tensor in inference.tensors
        ],
        raw_output_contents=[tensor.to_bytes() for tensor in inference.tensors],
    )


def fill(message: Any, document: Mapping[str, Any]) -> Any:
    """Fill a message from the document that says the same over HTTP."""
    return ParseDict(document, message)


def repository_parameters(message: Any) -> dict[str, object]:
    """Return the parameters of a message that asks for a change to the models."""
    return {name: _value(parameter) for name, parameter in message.parameters.items()}


def _tensor(given: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> InputTensor:
    if len(given.shape) > _MAX_DIMENSIONS:
        raise RequestError(f"input {given.name[:60]!r}: expected at most {_MAX_DIMENSIONS} dimensions")
    for name in given.parameters:
        if name != "binary_data_size":  # of HTTP: some clients send it here, too
            raise RequestError(f"input {given.name[:60]!r}: unknown parameter {name[:60]!r}")
    if raw is not None and given.HasField("contents"):
        raise RequestError(f"input {given.name[:60]!r}: expected contents or raw_input_contents, found both")
    contents: bytes | Sequence[bytes] | Sequence[int]
    if raw is not None:
        contents = raw
    elif given.datatype == ENCODED:
        contents = list(given.contents.bytes_contents)
    else:
        contents = given.contents.uint_contents
    return InputTensor(given.name, given.datatype, list(given.shape), contents)


def _parameters(given: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for name, parameter in given.items():
        value = _value(parameter)
        if value is None:
            raise RequestError(f"the parameter {name[:60]!r} has no value")
        found[name] = value
    return found


def _value(parameter: pb.InferParameter) -> Parameter | None:
    """Return what a parameter is set to; None where it is set to nothing."""
    choice = parameter.WhichOneof("parameter_choice")
    value: Parameter | None = None if choice is None else getattr(parameter, choice)
    return value
