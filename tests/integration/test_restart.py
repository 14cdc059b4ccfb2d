"""What the closed loop has learned survives the end of the process that learned it."""

import json
import signal
from contextlib import closing
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from tests.bundles import tiny_bundle, tiny_images
from tests.integration.server_process import PATIENCE_SECONDS, Running, server


def corrections(running: Running) -> Any:
    status, body = running.ask("GET", "/models/tiny/health")
    assert status == 200
    return json.loads(body)["corrections"]


def learn(running: Running) -> None:
    """Serve images unlike the invented calibration, so that there is something to correct."""
    stream = BytesIO()
    np.save(stream, tiny_images(256))
    for _ in range(4):
        assert running.ask("POST", "/classify?budget=40%25", stream.getvalue(), "application/x-npy")[0] == 200


def stop(running: Running, with_signal: signal.Signals) -> int:
    running.process.send_signal(with_signal)
    return running.process.wait(PATIENCE_SECONDS)


def test_a_server_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny")
    keeping = ("--state-dir", str(tmp_path / "state"), "--drain-seconds", "0")
    with server(tmp_path / "models", *keeping) as running:
        learn(running)
        learned = corrections(running)
        assert learned
        assert learned[0]["factor"] != 1
        assert stop(running, signal.SIGTERM) == 0
    with server(tmp_path / "models", *keeping) as running:
        assert corrections(running) == learned
    with server(tmp_path / "models") as running:
        assert corrections(running) == []


def test_labels_are_taken_for_answers_of_before_a_restart_and_kill(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny")
    flags = ("--state-dir", str(tmp_path / "state"), "--allow-admin", "--sample-share", "1")
    stream = BytesIO()
    np.save(stream, tiny_images(100))
    with server(tmp_path / "models", *flags) as running:
        with closing(HTTPConnection("127.0.0.1", running.port, PATIENCE_SECONDS)) as http:
            http.request(
                "POST", "/classify?budget=40%25", stream.getvalue(), {"Content-Type": "application/x-npy"}
            )
            answer = http.getresponse()
            request, results = answer.headers["Offramp-Request-ID"], json.loads(answer.read())["results"]
        assert label(running, request, [results[0]["class_index"]])["new"] == 1  # all is written by then
        running.process.kill()
        running.process.wait(PATIENCE_SECONDS)
    with server(tmp_path / "models", *flags) as running:
        counts = label(running, request, [result["class_index"] for result in results])
        assert (counts["same"], counts["new"]) == (1, 99)
        exits = json.loads(running.ask("GET", "/models/tiny/labels")[1])["exits"]
        assert sum(each["labelled"] for each in exits) == 100
        assert {each["accuracy"] for each in exits} == {1.0}


def label(running: Running, request: str, classes: list[int]) -> Any:
    labels = [
        {"request_id": request, "image": image, "class_index": index} for image, index in enumerate(classes)
    ]
    body = json.dumps({"labels": labels}).encode()
    status, answer = running.ask("POST", "/models/tiny/labels", body, "application/json")
    assert status == 200, answer
    return json.loads(answer)
