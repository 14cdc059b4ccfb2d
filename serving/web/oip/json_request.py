"""An inference request from an HTTP body: JSON, with the tensors in it or as bytes behind it."""

from typing import Any

import msgspec

from serving.errors import RequestError
from serving.web.oip.request import (
    MAX_NAMED,
    InferRequest,
    InputTensor,
    JsonData,
    Parameter,
    requested,
    the_only,
)

LENGTH_HEADER = "Inference-Header-Content-Length"
"""Says how many bytes of a body, a request's or an answer's, are JSON; what follows are the tensors."""

_STRINGS_COUNTED = 1000  # names and parameters: very many more of them are not worth parsing
_MAX_ID = 256
_MAX_DIMENSIONS = 8
_SIZE = "binary_data_size"
_NO_DATA = msgspec.Raw()

Given = dict[str, bool | int | float | str]


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    datatype: str
    shape: list[int]
    parameters: Given = {}
    data: msgspec.Raw = _NO_DATA


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: Given = {}


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Input]
    id: str = ""
    model_name: str = ""
    model_version: str = ""
    parameters: Given = {}
    outputs: list[_Output] = []


_DOCUMENT = msgspec.json.Decoder(_Document)


def json_length(header: str | None, body_bytes: int) -> int:
    """Return how many bytes of a body are JSON.

    Args:
        header: `LENGTH_HEADER`, if there is one.
        body_bytes: how many the body has.

    Raises:
        RequestError: it is no such number.
    """
    if header is None:
        return body_bytes
    if not (header.isascii() and header.isdecimal()) or len(header) > 20 or int(header) > body_bytes:
        raise RequestError(
            f"expected {LENGTH_HEADER} to be the number of bytes of JSON, at most the body's "
            f"{body_bytes}, found {header[:60]!r}"
        )
    return int(header)


def read_request(body: bytes, json_bytes: int, most_images: int) -> InferRequest:
    """Read a body; its tensors' elements stay as they are.

    Args:
        body: of the request.
        json_bytes: how many of its bytes are JSON.
        most_images: how many it may bring.

    Raises:
        RequestError: it is not a request of the protocol, or not one that can be answered.
    """
    view = memoryview(body)
    if body.count(b'"', 0, json_bytes) > 2 * (most_images + _STRINGS_COUNTED):
        raise RequestError(f"expected at most {most_images} images, found far more strings than that")
    try:
        document = _DOCUMENT.decode(view[:json_bytes])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # a ValidationError is one
        raise RequestError(
            "expected JSON as the Open Inference Protocol has it, "
            f'{{"inputs": [{{"name", "datatype", "shape", "data"}}]}}: {error}'
        ) from error
    if len(document.id) > _MAX_ID:
        raise RequestError(f"expected an id of at most {_MAX_ID} characters, found {len(document.id)}")
    if max(len(document.outputs), len(document.parameters)) > MAX_NAMED:
        raise RequestError(f"expected at most {MAX_NAMED} outputs and {MAX_NAMED} parameters, found more")
    parameters: dict[str, Parameter] = dict(document.parameters)
    binary = parameters.pop("binary_data_output", False)
    if not isinstance(binary, bool):
        raise RequestError(f"expected binary_data_output to be true or false, found {binary!r:.60}")
    rest = view[json_bytes:]
    tensor = the_only([_tensor(given, rest) for given in document.inputs[:2]])
    return InferRequest(
        tensor,
        parameters,
        [requested(output.name, output.parameters, binary=binary) for output in document.outputs],
        binary,
        document.id,
    )


def _tensor(given: _Input, rest: memoryview) -> InputTensor:
    """Put a tensor together, from its JSON or from the bytes behind all JSON."""
    name = given.name[:60]
    if len(given.shape) > _MAX_DIMENSIONS:
        raise RequestError(f"input {name!r}: expected at most {_MAX_DIMENSIONS} dimensions")
    for unknown in given.parameters.keys() - {_SIZE}:
        raise RequestError(f"input {name!r}: unknown parameter {unknown[:60]!r}: expected {_SIZE}")
    size: Any = given.parameters.get(_SIZE)
    data = memoryview(given.data)
    in_json = bytes(data[:5]) not in (b"", b"null")
    if size is None:
        if not in_json or len(rest):
            raise RequestError(
                f"input {name!r}: expected its elements as data, or {_SIZE} of those behind the JSON"
            )
        return InputTensor(given.name, given.datatype, given.shape, JsonData(data))
    if in_json:
        raise RequestError(f"input {name!r}: expected data or {_SIZE}, found both")
    if isinstance(size, bool) or not isinstance(size, int) or size != len(rest):
        raise RequestError(
            f"input {name!r}: expected {_SIZE} to be the {len(rest)} bytes behind the JSON, "
            f"found {size!r:.60}"
        )
    return InputTensor(given.name, given.datatype, given.shape, rest)
