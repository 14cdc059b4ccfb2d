"""`make pin-image` against a registry on this machine, which wants a token as the large ones do."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "pin_image.py"
INDEX = f"sha256:{'5a' * 32}"
BEFORE = "# An image.\nARG BASE={}\nFROM ${{BASE}} AS build\nFROM ${{BASE}}\n"


class Registry(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        if self.headers["Authorization"] != "Bearer visitor":
            self.send_response(401)
            realm = f"http://{self.headers['Host']}/token"
            told = f'Bearer realm="{realm}",service="here",scope="repository:team/base:pull"'
            self.send_header("WWW-Authenticate", told)
        elif self.path == "/v2/team/base/manifests/3.11" and "image.index" in self.headers["Accept"]:
            self.send_response(200)
            self.send_header("Docker-Content-Digest", INDEX)
        elif self.path == "/v2/team/odd/manifests/latest":
            self.send_response(200)
            self.send_header("Docker-Content-Digest", "md5:7")
        else:
            self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        asked = self.path == "/token?service=here&scope=repository%3Ateam%2Fbase%3Apull"
        self.send_response(200 if asked else 400)
        self.end_headers()
        self.wfile.write(json.dumps({"token": "visitor"}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def pinned(dockerfile: Path, base: str) -> "subprocess.CompletedProcess[str]":
    dockerfile.write_text(BEFORE.format(base))
    return subprocess.run([sys.executable, SCRIPT, dockerfile], capture_output=True, text=True)


@pytest.mark.parametrize("old", ["", f"@sha256:{'00' * 32}"])
def test_the_digest_is_written_behind_the_tag(registry: str, tmp_path: Path, old: str) -> None:
    dockerfile = tmp_path / "Dockerfile"
    done = pinned(dockerfile, f"{registry}/team/base:3.11{old}")
    assert (done.returncode, done.stderr) == (0, "")
    assert dockerfile.read_text() == BEFORE.format(f"{registry}/team/base:3.11@{INDEX}")


@pytest.mark.parametrize("image", ["team/base:9", "team/odd"])
def test_a_registry_without_a_digest_changes_nothing(registry: str, tmp_path: Path, image: str) -> None:
    done = pinned(tmp_path / "Dockerfile", f"{registry}/{image}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert (tmp_path / "Dockerfile").read_text() == BEFORE.format(f"{registry}/{image}")


def test_where_no_registry_answers_one_line_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    done = pinned(tmp_path / "Dockerfile", f"127.0.0.1:{port}/team/base:3.11")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "stays as it is: no digest of" in done.stderr
    assert "@" not in (tmp_path / "Dockerfile").read_text()


def test_a_file_without_a_base_is_told(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\n")
    done = subprocess.run([sys.executable, SCRIPT, tmp_path / "Dockerfile"], capture_output=True, text=True)
    assert "expected a line ARG BASE=IMAGE" in done.stderr
