"""What the closed loop has learned survives the end of the process that learned it."""

import json
import signal
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
