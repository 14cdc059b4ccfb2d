"""The application in a server that is not ours: a real uvicorn, as its users start it."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from serving.asgi import app_from_environment
from serving.command_line import SettingsValueError
from tests.bundles import tiny_bundle
from tests.integration.server_process import PATIENCE_SECONDS
from tests.integration.test_processes import png

ROOT = Path(__file__).parents[2]


def test_uvicorn_serves_it_and_stops_it_with_what_was_learned(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OFFRAMP_MODELS": str(tmp_path / "models"),
        "OFFRAMP_STATE_DIR": str(tmp_path / "state"),
        "OFFRAMP_THREADS": "1",
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "serving.asgi:app_from_environment", "--port"]
    with subprocess.Popen([*command, "0"], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            # "Uvicorn running on http://127.0.0.1:34567 (Press CTRL+C to quit)"
            said = next(line for line in process.stderr if "running on http" in line)
            port = int(said.rpartition("http://127.0.0.1:")[2].split()[0].rstrip('",'))
            with closing(HTTPConnection("127.0.0.1", port, PATIENCE_SECONDS)) as connection:
                headers = {"Content-Type": "image/png", "Host": "any.example.com"}
                connection.request("POST", "/classify?budget=50%25", png(0), headers)
                response = connection.getresponse()
                assert (response.status, json.loads(response.read())["model"]) == (200, "tiny")
                connection.request("GET", "/v2/health/ready")
                assert connection.getresponse().read() == b'{"ready":true}'
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            assert "Finished server process" in rest
            assert "Traceback" not in rest
        finally:
            process.kill()
    assert len(list((tmp_path / "state").glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("OFFRAMP_ADMIN_PORT", "8001"), ("OFFRAMP_GRPC_PORT", "0"), ("OFFRAMP_PROCESSES", "2")],
)
def test_what_only_the_command_keeps_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsValueError, match=f"{name} is kept by `offramp serve` alone"):
        app_from_environment()
