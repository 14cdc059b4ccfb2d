"""gRPC beside HTTP in a real process: what is served, over TLS too, and how it stops."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

grpc = pytest.importorskip("grpc", reason="needs offramp[grpc]")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2", reason="needs offramp[grpc]")

from serving.model import Model  # noqa: E402 - after the check
from serving.web.grpc import open_inference_pb2 as pb  # noqa: E402
from tests.bundles import tiny_bundle, tiny_images  # noqa: E402
from tests.tls import certificate  # noqa: E402
from training.demo.server import ServerProcess, started_server, stop  # noqa: E402
from training.errors import DemoError  # noqa: E402

SERVICE = "/inference.GRPCInferenceService/"
PATIENCE_SECONDS = 60
SERVING, NOT_SERVING = 1, 2
IMAGES = tiny_images(5)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder / "tiny")
    return folder


def request(**more: Any) -> Any:
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(IMAGES.shape)}
    return pb.ModelInferRequest(
        model_name="tiny", inputs=[tensor], raw_input_contents=[IMAGES.tobytes()], **more
    )


def infer(channel: Any) -> Any:
    method = channel.unary_unary(
        SERVICE + "ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    return method(
        request(parameters={"budget": pb.InferParameter(string_param="50%")}), timeout=PATIENCE_SECONDS
    )


def health(channel: Any, name: str) -> Any:
    kind = channel.unary_stream if name == "Watch" else channel.unary_unary
    method = kind(
        f"/grpc.health.v1.Health/{name}",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    return method(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)


def open_channel(server: ServerProcess) -> Any:
    return grpc.insecure_channel(f"127.0.0.1:{server.said['grpc_port']}")


def test_answers_are_the_models_and_a_stop_drains_both_protocols(models: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    flags = ("--grpc-port", "0", "--drain-seconds", "3600")
    with started_server(models, log, *flags) as server, open_channel(server) as channel:
        exits = infer(channel)
        with Model.load(models / "tiny", threads=1) as model:
            expected = [answer.class_index for answer in model.classify(IMAGES, "50%")]
        names = [output.name for output in exits.outputs]
        raw = exits.raw_output_contents[names.index("class_index")]
        assert [int(part) for part in memoryview(raw).cast("q")] == expected
        watching = health(channel, "Watch")
        assert next(watching).status == SERVING
        server.process.send_signal(signal.SIGTERM)
        assert next(watching).status == NOT_SERVING
        assert health(channel, "Check").status == NOT_SERVING
        assert infer(channel).model_name == "tiny"  # those who have not noticed are served on
        stream = channel.stream_stream(SERVICE + "ModelStreamInfer")(_silence())
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_SECONDS) == 0, log.read_text()
        assert list(stream) == []
        assert [response.status for response in watching] == []


def _silence() -> Iterator[bytes]:
    """Send nothing, until the end of the stream: a caller who keeps it open."""
    read, write = socket.socketpair()
    with read, write:
        read.recv(1)
    yield b""


def test_a_port_that_is_taken_is_said_before_models_are_loaded(models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        serving = started_server(models, tmp_path / "log", "--grpc-port", port)
        with pytest.raises(DemoError, match=f"cannot listen on 127.0.0.1 port {port}.*--grpc-port"):
            serving.__enter__()


def test_tls_shows_the_servers_certificate(models: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    flags = ("--grpc-port", "0", "--tls-cert", str(cert), "--tls-key", str(key), "--drain-seconds", "0")
    with started_server(models, tmp_path / "log", *flags) as server:
        credentials = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(f"localhost:{server.said['grpc_port']}", credentials) as channel:
            assert infer(channel).model_name == "tiny"
        with open_channel(server) as channel, pytest.raises(grpc.RpcError):
            infer(channel)
        stop(server.process, tmp_path / "log")
