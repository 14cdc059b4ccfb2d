"""Answers as an HTTP response of the protocol: JSON, with the tensors in it or as bytes behind it."""

import json
from typing import Any

from starlette.responses import Response

from serving.web.oip.infer import Inference
from serving.web.oip.json_request import LENGTH_HEADER
from serving.web.oip.outputs import OutputTensor

BINARY_TYPE = "application/octet-stream"


def response_of(inference: Inference) -> Response:
    """Write an answer in the form of its request."""
    behind = [tensor.to_bytes() for tensor in inference.tensors if tensor.binary]
    sizes = iter(map(len, behind))
    document: dict[str, Any] = {"model_name": inference.model, "model_version": inference.version}
    if inference.budget_share < 1:
        document["parameters"] = {"brownout": inference.budget_share}
    if inference.request_id:
        document["id"] = inference.request_id
    document["outputs"] = [
        _described(tensor)
        | (
            {"parameters": {"binary_data_size": next(sizes)}}
            if tensor.binary
            else {"data": tensor.values.ravel().tolist()}
        )
        for tensor in inference.tensors
    ]
    text = json.dumps(document).encode()
    if not behind:
        return Response(text, media_type="application/json")
    headers = {LENGTH_HEADER: str(len(text))}
    return Response(b"".join([text, *behind]), headers=headers, media_type=BINARY_TYPE)


def _described(tensor: OutputTensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
