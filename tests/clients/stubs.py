"""Reads and writes a message with the stubs of the server; run by `clients.py` where protobuf is older."""

import importlib.util
import sys

import google.protobuf  # type: ignore[import-untyped]
from calls import call, same

SPEC = importlib.util.spec_from_file_location("open_inference_pb2", sys.argv[1])
assert SPEC is not None
assert SPEC.loader is not None
stubs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(stubs)


def both_ways() -> str:
    request = stubs.ModelInferRequest(model_name="m", raw_input_contents=[b"x"])
    request.parameters["budget"].string_param = "50%"
    read = stubs.ModelInferRequest.FromString(request.SerializeToString())
    same(read.parameters["budget"].string_param, "50%")
    return f"protobuf {google.protobuf.__version__.partition('.')[0]}"


call("the server's own stubs", "a message both ways", both_ways)
