"""Asks with tritonclient.grpc, blocking, streaming and by asyncio; run by `clients.py` in its environment."""

import queue
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from calls import asked, call, call_async, refused, same

WHERE = asked()
PIXELS = np.array(WHERE.pixels, np.uint8)
FILES = [bytes.fromhex(file) for file in WHERE.files]
NAME = "tritonclient.grpc"
PATIENCE_SECONDS = 60
client = triton.InferenceServerClient(WHERE.grpc_url)


def tensor() -> Any:
    given = triton.InferInput("images", list(PIXELS.shape), "UINT8")
    given.set_data_from_numpy(PIXELS)
    return [given]


def encoded() -> Any:
    given = triton.InferInput("images", [len(FILES)], "BYTES")
    given.set_data_from_numpy(np.array(FILES, object))
    return [given]


def classes(result: Any) -> Any:
    return same(result.as_numpy("class_index").tolist(), WHERE.classes)


def top_classes() -> Any:
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    found = client.infer(WHERE.model, tensor(), outputs=outputs).as_numpy("probabilities")
    same([int(row[0].decode().split(":")[1]) for row in found], WHERE.classes)
    return found.shape


def budget() -> Any:
    result = client.infer(WHERE.model, tensor(), parameters={"budget": "30%", "mode": "hard"})
    return f"{result.as_numpy('flops').mean():.0f} FLOPs an image"


def by_callback() -> Any:
    found: Any = queue.Queue()
    client.async_infer(WHERE.model, tensor(), lambda result, error: found.put((result, error)))
    result, error = found.get(timeout=PATIENCE_SECONDS)
    assert error is None, error
    return classes(result)


def by_stream() -> Any:
    found: Any = queue.Queue()
    with triton.InferenceServerClient(WHERE.grpc_url) as streaming:
        streaming.start_stream(lambda result, error: found.put((result, error)))
        for _ in range(3):
            streaming.async_stream_infer(WHERE.model, tensor())
        answers = [found.get(timeout=PATIENCE_SECONDS) for _ in range(3)]
        streaming.stop_stream()
    assert not any(error for _, error in answers), answers
    return next(classes(result) for result, _ in answers)


def statistics() -> Any:
    (found,) = client.get_inference_statistics(WHERE.model).model_stats
    assert found.inference_count > 0
    return f"{len(found.batch_stats)} batch sizes"


async def over_asyncio() -> Any:
    async with triton_aio.InferenceServerClient(WHERE.grpc_url) as waiting:
        assert await waiting.is_server_ready()
        assert await waiting.is_model_ready(WHERE.model)
        assert (await waiting.get_model_metadata(WHERE.model)).name == WHERE.model
        return classes(await waiting.infer(WHERE.model, tensor()))


call(NAME, "is_server_live", lambda: same(client.is_server_live(), True))
call(NAME, "is_server_ready", lambda: same(client.is_server_ready(), True))
call(NAME, "is_model_ready", lambda: same(client.is_model_ready(WHERE.model), True))
call(NAME, "get_server_metadata", lambda: client.get_server_metadata().name)
call(NAME, "get_model_metadata", lambda: list(client.get_model_metadata(WHERE.model).inputs[0].shape))
call(NAME, "get_model_config", lambda: client.get_model_config(WHERE.model).config.max_batch_size)
call(NAME, "get_model_repository_index", lambda: client.get_model_repository_index().models[0].state)
call(NAME, "infer", lambda: classes(client.infer(WHERE.model, tensor())))
call(NAME, "infer, version 1", lambda: classes(client.infer(WHERE.model, tensor(), model_version="1")))
call(NAME, "infer, images as BYTES", lambda: classes(client.infer(WHERE.model, encoded())))
call(NAME, "infer, classification", top_classes)
call(NAME, "infer, a budget", budget)
call(NAME, "async_infer", by_callback)
call(NAME, "async_stream_infer", by_stream)
call(NAME, "get_inference_statistics", statistics)
call(NAME, "an unknown model", lambda: refused(lambda: client.infer("nobody", tensor()), "expected one of"))
call(NAME, "load_model", lambda: refused(lambda: client.load_model(WHERE.model), "PERMISSION_DENIED"))
call_async(f"{NAME}.aio", "ready, metadata, infer", over_asyncio)
