"""Models are replaced while requests come in: none is lost, and each is answered by one version."""

import http.client
import json
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from serving.bundle import write_bundle
from tests.bundles import tiny_bundle, tiny_calibration, tiny_images, tiny_manifest, tiny_segments
from tests.integration.server_process import PATIENCE_SECONDS, Running, server

CLIENTS = 2
OLD, NEW = ("ant", "bee", "cat", "dog"), ("ANT", "BEE", "CAT", "DOG")


def other_bundle(folder: Path) -> None:
    """Write a bundle of other weights, which calls the same classes by other names."""
    manifest = tiny_manifest().model_copy(update={"classes": NEW})
    write_bundle(folder, manifest, tiny_segments(seed=1), tiny_calibration(), force=True)


def change(running: Running, path: str, **body: Any) -> tuple[int, Any]:
    status, answer = running.ask(
        "POST", f"/v2/repository/models/tiny/{path}", json.dumps(body).encode(), "application/json"
    )
    return status, json.loads(answer)


@dataclass
class Load:
    """Clients that ask one request after the other, and note what they got."""

    port: int
    path: str = "/classify?budget=60%25"
    ending: threading.Event = field(default_factory=threading.Event)
    seen: list[tuple[float, int, frozenset[str], str | None]] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self.threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()
        self.until(lambda: len(self.seen) >= 2 * CLIENTS)
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)

    def until(self, happened: Any) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not happened():
            assert time.monotonic() < until
            assert all(thread.is_alive() for thread in self.threads)
            self.ending.wait(0.01)

    def _ask(self) -> None:
        stream = BytesIO()
        np.save(stream, tiny_images(3))
        body, headers = stream.getvalue(), {"Content-Type": "application/x-npy"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE_SECONDS)) as connection:
            while not self.ending.is_set():
                started = time.monotonic()
                connection.request("POST", self.path, body, headers)
                response = connection.getresponse()
                answers = json.loads(response.read()).get("results", [])
                names = frozenset(answer["class_name"] for answer in answers)
                version = response.getheader("offramp-model-version")
                self.seen.append((started, response.status, names, version))


def test_no_request_is_lost_and_none_is_mixed_while_a_bundle_is_replaced(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny")
    with server(tmp_path / "models", "--allow-admin", "--drain-seconds", "0") as running:
        with Load(running.port) as load:
            other_bundle(tmp_path / "models" / "tiny")
            assert change(running, "load")[0] == 200
            replaced_at = time.monotonic()
            count = len(load.seen)
            load.until(lambda: len(load.seen) > count + 2 * CLIENTS)
            (tmp_path / "models" / "tiny" / "segment_2.onnx").write_bytes(b"broken")
            (tmp_path / "models" / "tiny" / "manifest.json").write_text(
                (tmp_path / "models" / "tiny" / "manifest.json").read_text().replace('"tiny"', '"tine"')
            )
            status, problem = change(running, "load")
            assert (status, "segment_2.onnx" in problem["detail"]) == (422, True)
            count = len(load.seen)
            load.until(lambda: len(load.seen) > count + 2 * CLIENTS)
        assert {status for _, status, _, _ in load.seen} == {200}
        assert all(names <= set(OLD) or names <= set(NEW) for _, _, names, _ in load.seen)
        assert load.seen[0][2] <= set(OLD)
        assert all(names <= set(NEW) for started, _, names, _ in load.seen if started > replaced_at)
        assert change(running, "unload") == (200, {"name": "tiny", "versions": []})
        assert running.ask("GET", "/v2/health/ready")[0] == 503
        assert running.ask("POST", "/classify", b"x")[0] == 404


def test_versions_are_asked_by_number_and_a_canary_gets_its_share(tmp_path: Path) -> None:
    models = tmp_path / "models"
    tiny_bundle(models / "tiny" / "1")
    other_bundle(models / "tiny" / "2")
    with server(models, "--allow-admin", "--drain-seconds", "0", "--model-version", "tiny=1") as running:
        with Load(running.port) as load:
            assert change(running, "canary", version="2", share=0.5)[1]["canary"] == {
                "version": "2",
                "share": 0.5,
            }
            load.until(lambda: {version for *_, version in load.seen} == {"1", "2"})
            assert change(running, "promote", version="2")[1]["current"] == "2"
            assert change(running, "rollback")[1]["current"] == "1"
        assert {status for _, status, _, _ in load.seen} == {200}
        assert all(names <= set(OLD if version == "1" else NEW) for _, _, names, version in load.seen)
        status, body = running.ask("POST", "/classify?version=7", b"x")
        assert (status, json.loads(body)["title"]) == (404, "unknown version")
        assert "expected 1 or 2" in json.loads(body)["detail"]
        assert running.ask("GET", "/v2/models/tiny/versions/2/ready")[0] == 200
        assert running.ask("GET", "/v2/models/tiny/versions/3/ready")[0] == 404


def test_without_leave_nobody_changes_models_and_a_watched_folder_is_followed(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny")
    flags = ("--watch", "--watch-interval-seconds", "0.05", "--drain-seconds", "0")
    with server(tmp_path / "models", *flags) as running:
        assert running.ask("POST", "/v2/repository/models/tiny/load")[0] == 404
        with Load(running.port) as load:
            other_bundle(tmp_path / "models" / "tiny")
            load.until(lambda: load.seen[-1][2] <= set(NEW))
        assert {status for _, status, _, _ in load.seen} == {200}
