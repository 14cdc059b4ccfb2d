"""Two processes on one port: one server for its callers, whichever process answers."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.bundles import tiny_bundle, tiny_images, tiny_samples
from tests.integration.server_process import PATIENCE_SECONDS
from training.demo.server import ServerProcess, started_server

FLAGS = (
    *("--processes", "2", "--threads", "1", "--drain-seconds", "0", "--sample-share", "0"),
    *("--admin-port", "0", "--keep-recent", "2", "--watch", "--watch-interval-seconds", "0.1"),
)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(tiny_images(1, seed)[0]).save(file, "PNG")
    return file.getvalue()


class Server:
    """A server, asked at its admin port, which gives images to its processes in turn."""

    def __init__(self, started: ServerProcess, folder: Path, log: Path) -> None:
        self.process, self.port, self.folder, self.log = started.process, started.port, folder, log
        self.admin_port = started.said["admin_port"]
        self.processes = started.said["processes"]

    def ask(
        self, method: str, path: str, body: bytes | None = None, port: int | None = None
    ) -> tuple[int, Any, str]:
        with closing(HTTPConnection("127.0.0.1", port or self.admin_port, PATIENCE_SECONDS)) as connection:
            connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
            response = connection.getresponse()
            text = response.read()
            kind = response.headers.get("Content-Type", "")
            request_id = response.headers["Offramp-Request-ID"]
            return response.status, json.loads(text) if "json" in kind else text.decode(), request_id

    def classify(self, model: str = "tiny", seed: int = 0) -> int:
        return self.ask("POST", f"/classify?model={model}", png(seed))[0]

    def metric(self, name: str) -> float:
        text = self.ask("GET", "/metrics")[1]
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def refuses(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS).close()
        except OSError:
            return True
        return False

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("processes")
    tiny_bundle(folder / "models" / "tiny", samples=tiny_samples())
    tiny_bundle(folder / "models" / "other", seed=1)
    log = folder / "log"
    flags = (*FLAGS, "--state-dir", str(folder / "state"))
    with started_server(folder / "models", log, *flags) as started:
        yield Server(started, folder, log)


def test_images_are_answered_by_any_process_and_counted_together(server: Server) -> None:
    assert server.processes == 2
    before = server.metric("offramp_exits_total")
    assert [server.classify(seed=seed) for seed in range(4)] == [200] * 4
    assert server.metric("offramp_exits_total") == before + 4
    assert server.metric("offramp_processes") == 2
    stats = server.ask("GET", "/v2/models/tiny/stats")[1]["model_stats"]
    assert stats[0]["inference_count"] == before + 4
    server.until(lambda: sum(map(sum, server.ask("GET", "/models/tiny/live")[1]["exits"])) == before + 4)


def test_request_ids_say_which_process_took_the_request(server: Server) -> None:
    status, _, request_id = server.ask("POST", "/classify?model=tiny", png(0), server.port)
    assert status == 200
    assert request_id.split("-")[0] in ("1", "2")
    assert server.ask("GET", "/models")[2].split("-")[0] == "0"


def test_what_the_parent_answers_can_be_asked_at_the_public_port(server: Server) -> None:
    status, plan, request_id = server.ask("GET", "/models/tiny/plan?budget=50%25", port=server.port)
    assert (status, plan["model"], request_id.split("-")[0] != "0") == (200, "tiny", True)
    assert server.ask("GET", "/v2/health/ready", port=server.port)[:2] == (200, {"ready": True})
    assert server.ask("GET", "/metrics", port=server.port)[0] == 404  # it has a port of its own


def test_what_came_with_a_model_is_on_the_console_s_port_alone(server: Server) -> None:
    status, found, _ = server.ask("GET", "/models/tiny/samples")
    assert (status, len(found["samples"])) == (200, len(tiny_samples().images))
    assert server.ask("GET", "/models/tiny/samples", port=server.port)[0] == 404


def test_labels_are_taken_for_answers_of_every_process(server: Server) -> None:
    ids = [server.ask("POST", "/classify?model=tiny", png(seed))[2] for seed in range(4)]
    labels = [{"request_id": request_id, "class_name": "ant"} for request_id in ids]
    status, taken, _ = server.ask("POST", "/models/tiny/labels", json.dumps({"labels": labels}).encode())
    assert (status, taken["new"]) == (200, 4), taken
    exits = server.ask("GET", "/models/tiny/labels")[1]["exits"]
    assert sum(each["labelled"] for each in exits) == 4


def test_recent_images_of_all_processes_are_the_newest_of_all(server: Server) -> None:
    for seed in (5, 5, 5):
        server.classify(seed=seed)
    kept = server.ask("GET", "/models/tiny/recent")[1]["exits"]
    assert max(len(each["images"]) for each in kept) == 2


def test_a_change_to_the_models_is_made_in_every_process_also_in_one_that_comes_later(server: Server) -> None:
    assert [server.classify("other") for _ in range(2)] == [200] * 2
    assert server.ask("POST", "/v2/repository/models/other/unload")[0] == 200
    assert [server.classify("other") for _ in range(2)] == [404] * 2
    tiny_bundle(server.folder / "models" / "third", seed=2)
    server.until(lambda: [server.classify("third") for _ in range(2)] == [200] * 2)

    before = server.metric("offramp_exits_total")
    killed = server.children()[0]
    os.kill(killed, signal.SIGKILL)
    server.until(lambda: killed not in server.children() and server.metric("offramp_processes") == 2)
    assert server.metric("offramp_exits_total") >= before  # what the one that died had counted stays
    assert server.metric("offramp_process_failures_total") == 1
    assert '"process_ended"' in server.log.read_text()
    assert [server.classify("other") for _ in range(2)] == [404] * 2
    assert [server.classify("third") for _ in range(2)] == [200] * 2


def test_a_second_server_on_the_address_ends_with_code_2(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "offramp", "serve", "--models", str(server.folder / "models")]
    command += ["--port", str(server.port), "--processes", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, cwd=tmp_path)
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1 port {server.port}" in ended.stderr


def test_all_processes_stop_once_they_have_answered_and_leave_one_state(server: Server) -> None:
    children = server.children()
    assert server.ask("POST", "/classify?model=tiny&budget=50%25", png(0))[0] == 200
    body = png(1)
    with closing(socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)) as waiting:
        head = f"POST /classify?model=tiny HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        waiting.sendall(head.encode() + b"Content-Type: image/png\r\n\r\n" + body[:10])
        server.ask("GET", "/models", port=server.port)  # whichever process it is has the first half now
        server.process.send_signal(signal.SIGTERM)
        server.until(server.refuses)
        waiting.sendall(body[10:])
        assert waiting.recv(100).startswith(b"HTTP/1.1 200")
    assert server.process.wait(PATIENCE_SECONDS) == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    states = [json.loads(path.read_text()) for path in (server.folder / "state").glob("*.json")]
    assert sorted(state["model"] for state in states) == ["other", "third", "tiny"]
