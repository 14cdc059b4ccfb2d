"""Fields are counted as protobuf would find them, and no bytes make the counting fail."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pb = pytest.importorskip("serving.web.grpc.open_inference_pb2", reason="needs offramp[grpc]")

from serving.web.grpc.wire import has_at_most  # noqa: E402 - after the check

REQUEST = pb.ModelInferRequest
NAMES = st.text(max_size=4)
PARAMETERS = st.dictionaries(NAMES, st.integers(0, 9), max_size=3)
TENSORS = st.lists(st.tuples(NAMES, PARAMETERS, st.lists(st.binary(max_size=3), max_size=4)), max_size=3)


def parameter(value: int) -> Any:
    return pb.InferParameter(int64_param=value)


def made(
    name: str, parameters: dict[str, int], tensors: list[tuple[str, dict[str, int], list[bytes]]]
) -> bytes:
    return bytes(
        REQUEST(
            model_name=name,
            parameters={key: parameter(value) for key, value in parameters.items()},
            inputs=[
                REQUEST.InferInputTensor(
                    name=given,
                    parameters={key: parameter(value) for key, value in its.items()},
                    contents=pb.InferTensorContents(bytes_contents=images) if images else None,
                )
                for given, its, images in tensors
            ],
        ).SerializeToString()
    )


def of_parameters(parameters: dict[str, int]) -> int:
    # An entry is a message of a key, of a value that is one again, and of what is in it.
    return 4 * len(parameters)


@given(NAMES, PARAMETERS, TENSORS)
def test_it_counts_all_fields_at_every_depth(
    name: str, parameters: dict[str, int], tensors: list[tuple[str, dict[str, int], list[bytes]]]
) -> None:
    fields = bool(name) + of_parameters(parameters)
    for given_name, its, images in tensors:
        fields += 1 + bool(given_name) + of_parameters(its) + bool(images) + len(images)
    raw = made(name, parameters, tensors)
    assert has_at_most(fields, raw, REQUEST.DESCRIPTOR)
    assert not has_at_most(fields - 1, raw, REQUEST.DESCRIPTOR) or fields == 0


@given(st.binary(max_size=200))
def test_any_bytes_are_counted(raw: bytes) -> None:
    assert has_at_most(len(raw), raw, REQUEST.DESCRIPTOR)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x32\x00" * 2000,  # outputs
        b"\x2a\x00" * 2000,  # inputs
        b"\x3a\x00" * 2000,  # raw contents
        b"\x2a\xa0\x1f\x2a\x9d\x1f" + b"\x42\x00" * 1998,  # images of one input
        b"\x9b\x06" + b"\x32\x00" * 2000,  # behind the start of a group that nobody knows
        b"\x98\x06\x00" * 2000,  # numbers that nobody knows
    ],
)
def test_what_protobuf_would_make_much_of_is_too_much(raw: bytes) -> None:
    assert not has_at_most(1256, raw, REQUEST.DESCRIPTOR)
