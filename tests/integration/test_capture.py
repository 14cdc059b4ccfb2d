"""Live traffic is captured, labelled and calibrated on, by one process and by two, over a restart."""

import io
import json
import re
import signal
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from serving.bundle import read_bundle
from serving.bundle_check import check_bundle
from serving.capture.reading import find_captured
from tests.bundles import SIZE, tiny_bundle, tiny_images
from tests.integration.server_process import PATIENCE_SECONDS, Running, server
from training.calibrate import main
from training.demo.server import started_server

IMAGES = tiny_images(60)


def classify(running: Running, images: np.ndarray[Any, Any], query: str = "budget=50%25") -> str:
    stream = io.BytesIO()
    np.save(stream, images)
    with closing(HTTPConnection("127.0.0.1", running.port, PATIENCE_SECONDS)) as http:
        http.request("POST", f"/classify?{query}", stream.getvalue(), {"Content-Type": "application/x-npy"})
        response = http.getresponse()
        assert response.status == 200, response.read()
        response.read()
        return str(response.headers["Offramp-Request-ID"])


def label(running: Running, request: str, classes: list[int]) -> None:
    labels = [{"request_id": request, "image": image, "class_index": c} for image, c in enumerate(classes)]
    body = json.dumps({"labels": labels}).encode()
    assert running.ask("POST", "/models/tiny/labels", body, "application/json")[0] == 200


def stop(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(PATIENCE_SECONDS) == 0


def flags(state: Path) -> tuple[str, ...]:
    return ("--state-dir", str(state), "--capture", "50", "--allow-admin", "--drain-seconds", "0")


def captured_images(running: Running) -> float:
    metrics = running.ask("GET", "/metrics")[1].decode()
    (found,) = re.findall(r'^offramp_captured_images\{model="tiny"\} (\S+)$', metrics, re.MULTILINE)
    return float(found)


def test_a_bundle_is_calibrated_on_what_it_was_asked_over_a_restart(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "models" / "tiny")
    state = tmp_path / "state"
    with server(tmp_path / "models", *flags(state)) as running:
        first = classify(running, IMAGES[:20])
        classify(running, IMAGES[20:21], "explain=1")
        label(running, first, [place % 4 for place in range(20)])
        stop(running)
    captured = find_captured(state, bundle.manifest.identity, "tiny")
    assert (captured.images, captured.labelled) == (20, 20)  # explained images are none of the traffic
    with server(tmp_path / "models", *flags(state)) as running:
        for start in range(20, 60, 4):
            classify(running, IMAGES[start : start + 4])
        label(running, classify(running, IMAGES[:1]), [0])  # all is written by then
        assert captured_images(running) == 50
        running.process.kill()
        running.process.wait(PATIENCE_SECONDS)
    captured = find_captured(state, bundle.manifest.identity, "tiny")
    kept = np.concatenate([images for images, _ in captured.batches((SIZE, SIZE, 3), labelled=False)])
    assert len(kept) == captured.images == 50
    known = {image.tobytes() for image in IMAGES}
    assert {image.tobytes() for image in kept} <= known
    assert len({image.tobytes() for image in kept}) >= 49  # one of them was asked twice

    out = tmp_path / "live"
    assert main([str(bundle.folder), "--from-capture", str(state), "--out", str(out)]) == 0
    new = read_bundle(out)
    assert (new.manifest.truth, len(new.calibration.labels)) == ("own", 50)
    assert [found.detail for found in check_bundle(out) if not found.ok] == []


def test_two_processes_have_one_sample(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "models" / "tiny")
    state = tmp_path / "state"
    given = (*flags(state), "--threads", "1", "--processes", "2", "--admin-port", "0")
    with started_server(tmp_path / "models", tmp_path / "log", *given) as started:
        # The second port gives images to the processes in turn.
        running = Running(started.process, started.said["admin_port"], started.models, tmp_path / "log")
        requests = [classify(running, image[None]) for image in IMAGES]
        for request in requests:
            label(running, request, [1])
        assert captured_images(running) == 50
        stop(running)
    captured = find_captured(state, bundle.manifest.identity, "tiny")
    assert captured.images == 50
    assert captured.labelled > 30  # not those that were labelled once they had been let go
