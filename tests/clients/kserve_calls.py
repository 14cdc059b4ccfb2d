"""Asks with kserve's clients, over REST and gRPC; run by `clients.py` in an environment of its own."""

from typing import Any

import numpy as np
from calls import asked, call_async, same
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

WHERE = asked()
PIXELS = np.array(WHERE.pixels, np.uint8)
FILES = [bytes.fromhex(file) for file in WHERE.files]
REST, GRPC = "kserve REST", "kserve gRPC"
URL = f"http://{WHERE.url}"


def request(binary: bool = True, parameters: Any = None) -> Any:
    given = InferInput("images", list(PIXELS.shape), "UINT8")
    given.set_data_from_numpy(PIXELS, binary_data=binary)
    return InferRequest(WHERE.model, [given], parameters=parameters)


def encoded() -> Any:
    given = InferInput("images", [len(FILES)], "BYTES")
    given.set_data_from_numpy(np.array(FILES, object), binary_data=True)
    return InferRequest(WHERE.model, [given])


def classes(response: Any) -> Any:
    found = {output.name: output.as_numpy().tolist() for output in response.outputs}
    return same(found["class_index"], WHERE.classes)


def rest(ask: Any) -> Any:
    async def asking() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))
        try:
            return await ask(client)
        finally:
            await client.close()

    return asking


def grpc(ask: Any) -> Any:
    async def asking() -> Any:
        async with InferenceGRPCClient(WHERE.grpc_url, timeout=60) as client:
            return await ask(client)

    return asking


async def rest_infer(client: Any, given: Any) -> Any:
    return classes(await client.infer(URL, given, model_name=WHERE.model))


async def is_true(answer: Any) -> Any:
    return same(await answer, True)


async def grpc_infer(client: Any, given: Any) -> Any:
    return classes(await client.infer(given))


call_async(REST, "is_server_live", rest(lambda client: is_true(client.is_server_live(URL))))
call_async(REST, "is_server_ready", rest(lambda client: is_true(client.is_server_ready(URL))))
call_async(REST, "is_model_ready", rest(lambda client: is_true(client.is_model_ready(URL, WHERE.model))))
call_async(REST, "infer, JSON", rest(lambda client: rest_infer(client, request(binary=False))))
call_async(REST, "infer, binary", rest(lambda client: rest_infer(client, request())))
call_async(REST, "infer, images as BYTES", rest(lambda client: rest_infer(client, encoded())))
call_async(
    REST, "infer, a budget", rest(lambda client: rest_infer(client, request(parameters={"budget": "100%"})))
)
call_async(GRPC, "is_server_live", grpc(lambda client: is_true(client.is_server_live())))
call_async(GRPC, "is_server_ready", grpc(lambda client: is_true(client.is_server_ready())))
call_async(GRPC, "is_model_ready", grpc(lambda client: is_true(client.is_model_ready(WHERE.model))))
call_async(GRPC, "infer, raw contents", grpc(lambda client: grpc_infer(client, request())))
call_async(GRPC, "infer, numbers", grpc(lambda client: grpc_infer(client, request(binary=False))))
call_async(GRPC, "infer, images as BYTES", grpc(lambda client: grpc_infer(client, encoded())))
call_async(
    GRPC, "infer, a budget", grpc(lambda client: grpc_infer(client, request(parameters={"budget": "100%"})))
)
