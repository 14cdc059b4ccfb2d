import asyncio
import hashlib
import io
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from structlog import get_logger

grpc = pytest.importorskip("grpc", reason="needs offramp[grpc]")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2", reason="needs offramp[grpc]")

from serving.errors import OverloadedError  # noqa: E402 - after the check
from serving.web.access.control import Access  # noqa: E402
from serving.web.access.keys import KeyRing  # noqa: E402
from serving.web.grpc import open_inference_pb2 as pb  # noqa: E402
from serving.web.grpc.make import make_server  # noqa: E402
from serving.web.server import reserve  # noqa: E402
from serving.web.service import Service  # noqa: E402
from tests.bundles import tiny_images  # noqa: E402
from tests.serving.web.fakes import FakeModel, fake_service  # noqa: E402

IMAGES = tiny_images(3)
INDICES = [int(image[0, 0, 0]) % 4 for image in IMAGES]
SERVICE = "/inference.GRPCInferenceService/"
AUTHORIZED = (("authorization", "Bearer secret"),)

Ask = Callable[..., Awaitable[Any]]


def run(service: Service, check: Callable[[Ask, Any], Awaitable[None]], access: Access | None = None) -> None:
    """Serve, and have `check` ask: by the name of a method, or over a channel of its own."""

    async def served() -> None:
        socket = reserve("127.0.0.1", 0)
        port = socket.getsockname()[1]
        server = make_server(service, access or Access(), socket)
        await server.start()
        try:
            options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:

                async def ask(name: str, request: Any = None, metadata: Any = None) -> Any:
                    response = getattr(pb, f"{name}Response", pb.RepositoryModelResponse)
                    request = request or getattr(pb, f"{name}Request", pb.RepositoryModelRequest)()
                    call = channel.unary_unary(
                        SERVICE + name, type(request).SerializeToString, response.FromString
                    )
                    return await call(request, metadata=metadata, timeout=60)

                await check(ask, channel)
        finally:
            await server.stop(5, lambda: False)

    asyncio.run(served())


def request(images: np.ndarray = IMAGES, **more: Any) -> pb.ModelInferRequest:
    given = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    return pb.ModelInferRequest(
        **{"model_name": "tiny", "inputs": [given], "raw_input_contents": [images.tobytes()]} | more
    )


def arrays(response: pb.ModelInferResponse) -> dict[str, np.ndarray]:
    dtypes = {"FP32": "<f4", "INT64": "<i8", "INT32": "<i4"}
    return {
        output.name: np.frombuffer(raw, dtypes[output.datatype]).reshape(output.shape)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def streaming(channel: Any) -> Any:
    """Return the method that answers a stream of requests."""
    return channel.stream_stream(
        SERVICE + "ModelStreamInfer",
        pb.ModelInferRequest.SerializeToString,
        pb.ModelStreamInferResponse.FromString,
    )


def only_ann(folder: Path, priority: str = "", limits: str = "") -> Access:
    """Let one key in, `secret`; its limits are of a clock that stands."""
    file = folder / "keys"
    file.write_text(f"ann:{priority}:{hashlib.sha256(b'secret').hexdigest()}{limits}\n")
    return Access(keys=KeyRing(file, get_logger(), lambda: 0.0))


def test_the_server_and_its_models_are_described_as_over_http() -> None:
    service, _ = fake_service(FakeModel("one"), FakeModel("two", alive=False), max_images=16)

    async def check(ask: Ask, _: Any) -> None:
        assert (await ask("ServerLive")).live
        assert (await ask("ServerReady")).ready
        assert (await ask("ServerMetadata")).name == "offramp"
        assert (await ask("ModelReady", pb.ModelReadyRequest(name="one"))).ready
        assert not (await ask("ModelReady", pb.ModelReadyRequest(name="two", version="1"))).ready
        metadata = await ask("ModelMetadata", pb.ModelMetadataRequest(name="one"))
        assert list(metadata.inputs[0].shape) == [-1, 8, 8, 3]
        assert [output.name for output in metadata.outputs][:2] == ["probabilities", "class_index"]
        config = (await ask("ModelConfig", pb.ModelConfigRequest(name="one"))).config
        assert (config.max_batch_size, config.input[0].data_type) == (16, pb.TYPE_UINT8)
        assert {entry.name: entry.state for entry in (await ask("RepositoryIndex")).models} == {
            "one": "READY",
            "two": "UNAVAILABLE",
        }
        statistics = await ask("ModelStatistics", pb.ModelStatisticsRequest(name="one"))
        assert [entry.name for entry in statistics.model_stats] == ["one"]
        assert len((await ask("ModelStatistics")).model_stats) == 2

    run(service, check)


def test_pixels_as_raw_bytes_and_as_numbers() -> None:
    model = FakeModel()
    numbers = {"name": "images", "datatype": "UINT8", "shape": list(IMAGES.shape)}
    numbers["contents"] = pb.InferTensorContents(uint_contents=IMAGES.ravel().tolist())

    async def check(ask: Ask, _: Any) -> None:
        for given in (request(id="7"), request(id="7", inputs=[numbers], raw_input_contents=[])):
            response = await ask("ModelInfer", given)
            assert (response.model_name, response.model_version, response.id) == ("tiny", "1", "7")
            found = arrays(response)
            assert found["class_index"].tolist() == INDICES
            assert found["probabilities"].argmax(axis=1).tolist() == INDICES
            assert found["flops"].tolist() == [1000] * 3

    run(fake_service(model)[0], check)
    assert all(np.array_equal(images, IMAGES) for images, _ in model.asked)


def test_encoded_images_and_parameters_and_classification() -> None:
    stream, model = io.BytesIO(), FakeModel()
    Image.new("RGB", (20, 20), (2, 0, 0)).save(stream, "PNG")
    png = stream.getvalue()
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1]}
    top = {"name": "probabilities", "parameters": {"classification": pb.InferParameter(int64_param=2)}}
    asked_for = {
        "budget": pb.InferParameter(string_param="50%"),
        "max_drop": pb.InferParameter(double_param=0.1),
    }

    async def check(ask: Ask, _: Any) -> None:
        raw = struct.pack("<I", len(png)) + png
        given = request(inputs=[tensor], raw_input_contents=[raw], outputs=[top], parameters=asked_for)
        response = await ask("ModelInfer", given)
        assert response.outputs[0].datatype == "BYTES"
        assert response.raw_output_contents[0] == b"\x0e\0\0\x000.500000:2:cat\x0e\0\0\x000.166667:0:ant"
        contents = tensor | {"contents": pb.InferTensorContents(bytes_contents=[png])}
        assert await ask("ModelInfer", request(inputs=[contents], raw_input_contents=[]))

    run(fake_service(model)[0], check)
    assert (model.asked[0][1].budget, model.asked[0][1].max_drop) == ("50%", 0.1)


UNKNOWN = {"buget": pb.InferParameter(string_param="50%")}
NUMBERS = [{"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 3]}]


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (request(model_name="nobody"), "NOT_FOUND", "expected one of tiny"),
        (request(model_version="3"), "NOT_FOUND", "has no version '3'"),
        (request(model_name=""), "NOT_FOUND", "the name of a model"),
        (request(parameters=UNKNOWN), "INVALID_ARGUMENT", "did you mean 'budget'?"),
        (request(parameters={"budget": pb.InferParameter()}), "INVALID_ARGUMENT", "has no value"),
        (request(raw_input_contents=[b"x"]), "INVALID_ARGUMENT", "asks for 576 bytes, found 1"),
        (request(raw_input_contents=[]), "INVALID_ARGUMENT", "asks for 576 numbers, found 0"),
        (request(raw_input_contents=[b"", b""]), "INVALID_ARGUMENT", "all 1 inputs or for none, found 2"),
        (request(inputs=[], raw_input_contents=[]), "INVALID_ARGUMENT", "expected one input"),
        (request(id="x" * 257), "INVALID_ARGUMENT", "256 characters"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why(given: Any, code: str, said: str) -> None:
    service, events = fake_service()

    async def check(ask: Ask, _: Any) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask("ModelInfer", given)
        assert (caught.value.code().name, said in caught.value.details()) == (code, True), (
            caught.value.details()
        )

    run(service, check)
    assert len(events) == 1


def test_limits_overload_and_changes() -> None:
    full = FakeModel(failure=OverloadedError("the queue is full", retry_after_seconds=0.25))
    service, _ = fake_service(full, max_body_bytes=10_000)
    garbage = b"\xff\xff\xff"

    async def check(ask: Ask, channel: Any) -> None:
        for given, code in (
            (request(np.zeros((64, 8, 8, 3), np.uint8)), "INVALID_ARGUMENT"),
            (request(), "RESOURCE_EXHAUSTED"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask("ModelInfer", given)
            assert caught.value.code().name == code
        assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "250"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(SERVICE + "ModelInfer")(garbage)
        assert caught.value.code().name == "INVALID_ARGUMENT"
        for name in ("RepositoryModelLoad", "RepositoryModelUnload"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(name)
            assert caught.value.code().name == "PERMISSION_DENIED"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(SERVICE + "TraceSetting")(b"")
        assert caught.value.code().name == "UNIMPLEMENTED"

    run(service, check)
    counted = service.metrics.text().decode()
    assert 'offramp_grpc_requests_total{code="RESOURCE_EXHAUSTED",method="ModelInfer"} 1.0' in counted


def test_a_stream_answers_each_request_in_order_and_survives_a_bad_one() -> None:
    async def check(_: Ask, channel: Any) -> None:
        stream = streaming(channel)
        given = [request(id="1"), request(id="2", model_name="nobody"), request(id="3")]
        found = [response async for response in stream(iter(given), timeout=60)]
        assert [response.infer_response.id for response in found] == ["1", "", "3"]
        assert "expected one of tiny" in found[1].error_message

    run(fake_service()[0], check)


def test_a_caller_that_goes_away_is_not_computed_for() -> None:
    model = FakeModel(held=True)

    async def check(ask: Ask, _: Any) -> None:
        waiting = asyncio.ensure_future(ask("ModelInfer", request()))
        while not model.works:
            await asyncio.sleep(0.01)
        waiting.cancel()
        while not model.works[0].future.cancelled():
            await asyncio.sleep(0.01)

    run(fake_service(model)[0], check)


def test_the_standard_health_service_follows_readiness() -> None:
    service, _ = fake_service(FakeModel("well"), FakeModel("dead", alive=False))
    check_name = "/grpc.health.v1.Health/Check"

    async def check(_: Ask, channel: Any) -> None:
        method = channel.unary_unary(
            check_name,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )

        async def status(name: str) -> int:
            response = await method(health_pb2.HealthCheckRequest(service=name), timeout=60)
            return int(response.status)

        serving, not_serving = 1, 2
        assert [await status(name) for name in ("", "well", "dead")] == [serving, serving, not_serving]
        service.draining = True
        assert [await status(name) for name in ("", "well")] == [not_serving, not_serving]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await status("nobody")
        assert caught.value.code().name == "NOT_FOUND"

    run(service, check)


def test_keys_count_but_not_for_health(tmp_path: Path) -> None:
    async def check(ask: Ask, _: Any) -> None:
        assert (await ask("ServerLive")).live
        for metadata in (None, (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask("ModelInfer", request(), metadata)
            assert caught.value.code().name == "UNAUTHENTICATED"
        assert await ask("ModelInfer", request(), AUTHORIZED)

    run(fake_service()[0], check, only_ann(tmp_path))


def test_a_key_over_its_limit_is_told_when_to_come_back_in_calls_and_in_streams(tmp_path: Path) -> None:
    async def check(ask: Ask, channel: Any) -> None:
        assert await ask("ModelInfer", request(), AUTHORIZED)
        stream = streaming(channel)

        async def requests() -> AsyncIterator[Any]:
            for _ in range(2):
                yield request()

        answers = [answer async for answer in stream(requests(), metadata=AUTHORIZED, timeout=60)]
        assert [bool(answer.error_message) for answer in answers] == [False, True]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask("ModelInfer", request(), AUTHORIZED)
        assert caught.value.code().name == "RESOURCE_EXHAUSTED"
        assert ("grpc-retry-pushback-ms", "500") in tuple(caught.value.trailing_metadata())

    run(fake_service()[0], check, only_ann(tmp_path, limits=":requests=2"))


def test_the_class_of_a_call_is_the_key_s_at_most_and_a_brown_out_is_told_of(tmp_path: Path) -> None:
    model = FakeModel(budget_share=0.5)
    wanted = {"priority": pb.InferParameter(string_param="high")}

    async def check(ask: Ask, _: Any) -> None:
        response = await ask("ModelInfer", request(parameters=wanted), AUTHORIZED)
        assert response.parameters["brownout"].double_param == 0.5

    run(fake_service(model)[0], check, only_ann(tmp_path, "normal"))
    assert model.asked[0][1].priority == "normal"

    async def without(ask: Ask, _: Any) -> None:
        assert not (await ask("ModelInfer", request(parameters=wanted))).parameters

    whole = FakeModel()
    run(fake_service(whole)[0], without)
    assert whole.asked[0][1].priority == "high"
