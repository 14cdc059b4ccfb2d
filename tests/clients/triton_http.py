"""Asks with tritonclient.http, blocking and by asyncio; run by `clients.py` in an environment of its own."""

import base64
from typing import Any

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from calls import asked, call, call_async, refused, same

WHERE = asked()
PIXELS = np.array(WHERE.pixels, np.uint8)
FILES = [bytes.fromhex(file) for file in WHERE.files]
NAME = "tritonclient.http"
client = triton.InferenceServerClient(WHERE.url)


def tensor(binary: bool = True) -> Any:
    given = triton.InferInput("images", list(PIXELS.shape), "UINT8")
    given.set_data_from_numpy(PIXELS, binary_data=binary)
    return [given]


def encoded(binary: bool = True) -> Any:
    given = triton.InferInput("images", [len(FILES)], "BYTES")
    files = FILES if binary else [base64.b64encode(file) for file in FILES]
    given.set_data_from_numpy(np.array(files, object), binary_data=binary)
    return [given]


def wanted(binary: bool = True) -> Any:
    return [triton.InferRequestedOutput("class_index", binary_data=binary)]


def classes(result: Any) -> Any:
    return same(result.as_numpy("class_index").tolist(), WHERE.classes)


def load_and_ask() -> Any:
    triton.InferenceServerClient(WHERE.admin_url).load_model(WHERE.model)
    return client.is_model_ready(WHERE.model, "1")


def infer(inputs: Any, binary: bool) -> Any:
    return classes(client.infer(WHERE.model, inputs, outputs=wanted(binary)))


def everything() -> Any:
    result = client.infer(WHERE.model, tensor(), request_id="seven")
    names = [output["name"] for output in result.get_response()["outputs"]]
    sums = result.as_numpy("probabilities").sum(axis=1)
    assert result.get_response()["id"] == "seven"
    assert np.allclose(sums, 1, atol=1e-4), sums
    return classes(result) + f" and {', '.join(names)}"


def top_classes() -> Any:
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    found = client.infer(WHERE.model, tensor(), outputs=outputs).as_numpy("probabilities")
    same([int(row[0].decode().split(":")[1]) for row in found], WHERE.classes)
    return found.shape


def budget() -> Any:
    result = client.infer(WHERE.model, tensor(), parameters={"budget": "30%", "mode": "hard"})
    return f"{result.as_numpy('flops').mean():.0f} FLOPs an image"


def statistics() -> Any:
    (found,) = client.get_inference_statistics(WHERE.model)["model_stats"]
    assert found["inference_count"] > 0
    assert len(client.get_inference_statistics()["model_stats"]) == 1
    return sorted(found)


async def over_asyncio() -> Any:
    async with triton_aio.InferenceServerClient(WHERE.url) as waiting:
        assert await waiting.is_server_ready()
        assert await waiting.is_model_ready(WHERE.model)
        assert (await waiting.get_model_metadata(WHERE.model))["name"] == WHERE.model
        return classes(await waiting.infer(WHERE.model, tensor(), outputs=wanted()))


call(NAME, "is_server_live", lambda: same(client.is_server_live(), True))
call(NAME, "is_server_ready", lambda: same(client.is_server_ready(), True))
call(NAME, "is_model_ready", lambda: same(client.is_model_ready(WHERE.model), True))
call(NAME, "is_model_ready, version 1", lambda: same(client.is_model_ready(WHERE.model, "1"), True))
call(NAME, "get_server_metadata", lambda: client.get_server_metadata()["name"])
call(NAME, "get_model_metadata", lambda: client.get_model_metadata(WHERE.model)["inputs"])
call(NAME, "get_model_config", lambda: client.get_model_config(WHERE.model)["max_batch_size"])
call(NAME, "get_model_repository_index", lambda: client.get_model_repository_index()[0]["state"])
call(NAME, "infer, everything in binary", everything)
call(
    NAME,
    "infer, JSON in and out",
    lambda: classes(client.infer(WHERE.model, tensor(False), outputs=wanted(False))),
)
call(
    NAME,
    "infer, binary in, JSON out",
    lambda: classes(client.infer(WHERE.model, tensor(), outputs=wanted(False))),
)
call(NAME, "infer, images as BYTES", lambda: classes(client.infer(WHERE.model, encoded(), outputs=wanted())))
call(NAME, "infer, images as base64", lambda: classes(client.infer(WHERE.model, encoded(False))))
call(NAME, "infer, classification", top_classes)
call(NAME, "infer, a budget", budget)
call(NAME, "async_infer", lambda: classes(client.async_infer(WHERE.model, tensor()).get_result()))
call(NAME, "get_inference_statistics", statistics)
call(NAME, "an unknown model", lambda: refused(lambda: client.infer("nobody", tensor()), "expected one of"))
call(
    NAME,
    "an unknown parameter",
    lambda: refused(
        lambda: client.infer(WHERE.model, tensor(), parameters={"buget": "30%"}), "did you mean 'budget'?"
    ),
)
call(NAME, "load_model", lambda: refused(lambda: client.load_model(WHERE.model), "nothing at this path"))
call(NAME, "load_model, on the second port", load_and_ask)
call_async(f"{NAME}.aio", "ready, metadata, infer", over_asyncio)
