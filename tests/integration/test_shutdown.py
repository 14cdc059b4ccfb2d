"""A real server process over a real bundle: what it answers, and how it stops."""

import http.client
import json
import signal
import socket
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from serving.model import Model
from tests.bundles import tiny_bundle, tiny_images
from tests.integration.server_process import PATIENCE_SECONDS, server


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def png() -> bytes:
    stream = BytesIO()
    Image.fromarray(tiny_images(1)[0]).save(stream, "PNG")
    return stream.getvalue()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finish(connection: socket.socket, rest: bytes) -> http.client.HTTPResponse:
    connection.sendall(rest)
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response


def test_draining_serves_on_and_a_second_signal_ends_it(models: Path, png: bytes) -> None:
    with server(models, "--drain-seconds", "3600") as running:
        status, body = running.ask("POST", "/classify?budget=50%25", png)
        with Model.load(models / "tiny", threads=1) as model:
            expected = model.classify(tiny_images(1), "50%")[0]
        answer = json.loads(body)
        assert status == 200
        assert (answer["class_name"], answer["exit"], answer["flops"], answer["confidence"]) == (
            expected.class_name,
            expected.exit,
            expected.flops,
            pytest.approx(expected.confidence),
        )
        running.process.send_signal(signal.SIGTERM)
        wait_for(lambda: running.ask("GET", "/v2/health/ready")[0] == 503)
        assert running.ask("POST", "/classify", png)[0] == 200
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE_SECONDS) == 0
        assert running.refuses()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_what_was_begun_is_answered_after_the_socket_closed(
    models: Path, png: bytes, sent: signal.Signals
) -> None:
    drain = "0" if sent == signal.SIGTERM else "3600"
    with server(models, "--drain-seconds", drain) as running, running.half_a_request(png) as connection:
        running.process.send_signal(sent)
        wait_for(running.refuses)
        response = finish(connection, png[len(png) // 2 :])
        assert response.status == 200
        assert json.load(response)["model"] == "tiny"
        assert running.process.wait(PATIENCE_SECONDS) == 0


def test_what_does_not_end_in_time_is_given_up(models: Path, png: bytes) -> None:
    flags = ("--drain-seconds", "0", "--shutdown-timeout-seconds", "1")
    with server(models, *flags) as running, running.half_a_request(png) as connection:
        running.process.send_signal(signal.SIGTERM)
        response = finish(connection, b"")
        assert response.status == 503
        assert response.headers["Content-Type"] == "application/problem+json"
        assert running.process.wait(PATIENCE_SECONDS) == 0


def test_a_broken_bundle_is_named_and_the_other_serves(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "good")
    broken = tiny_bundle(tmp_path / "broken")
    (broken.folder / "segment_2.onnx").write_bytes(b"")
    with server(tmp_path, "--drain-seconds", "0") as running:
        assert running.models == ["good"]
        running.process.terminate()
        assert running.process.wait(PATIENCE_SECONDS) == 0
    logged = map(json.loads, running.log.read_text().splitlines())
    refused = [line for line in logged if line["event"] == "bundle_refused"]
    assert [line["bundle"] for line in refused] == ["broken"]
    assert "SHA-256" in refused[0]["reason"]
