"""Unmodified clients of the Open Inference Protocol against the real server; `make test-clients` runs it.

Each client lives in an environment of its own (`OFFRAMP_CLIENTS`, a folder of environments): it needs other
versions than the server. The table in docs/clients.md is made here: `OFFRAMP_WRITE_TABLE=1` writes it.
"""

import http.client
import io
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from training.demo.server import started_server

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODEL = "cifar10-msdnet-int8"
PAGE = ROOT / "docs" / "clients.md"
START, END = "<!-- made by make test-clients -->\n", "<!-- end -->\n"
STUBS = ROOT / "serving" / "web" / "grpc" / "open_inference_pb2.py"
PATIENCE_SECONDS = 300

SCRIPTS = {
    "triton_http.py": "triton",
    "triton_grpc.py": "triton",
    "kserve_calls.py": "kserve",
    "stubs.py": "triton",
}


@dataclass(frozen=True)
class Result:
    client: str
    call: str
    result: str
    worked: bool


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    bundle, log = ROOT / "exported_models" / MODEL, tmp_path_factory.mktemp("clients") / "server.log"
    with started_server(bundle, log, "--threads", "1", "--grpc-port", "0", "--admin-port", "0") as server:
        yield json.dumps(
            {
                "url": f"127.0.0.1:{server.port}",
                "grpc_url": f"127.0.0.1:{server.said['grpc_port']}",
                "admin_url": f"127.0.0.1:{server.said['admin_port']}",
                "model": MODEL,
                "pixels": pixels.tolist(),
                "files": [png(image).hex() for image in pixels],
                "classes": classes(server.port, pixels),
            }
        )


def test_the_manifests_of_kserve_have_the_fields_of_its_sdk() -> None:
    files = sorted((ROOT / "deploy" / "kserve").glob("*.yaml"))
    given = json.dumps([document for file in files for document in yaml.safe_load_all(file.read_text())])
    python = Path(os.environ["OFFRAMP_CLIENTS"]).absolute() / "kserve" / "bin" / "python"
    started = [python, HERE / "kserve_manifests.py"]
    done = subprocess.run(started, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"checked": len(files)}


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def classes(port: int, pixels: np.ndarray) -> list[int]:
    """What the same server says of the same images in its own words."""
    stream = io.BytesIO()
    np.save(stream, pixels)
    with closing(http.client.HTTPConnection("127.0.0.1", port, PATIENCE_SECONDS)) as connection:
        connection.request("POST", "/classify", stream.getvalue(), {"Content-Type": "application/x-npy"})
        results = json.loads(connection.getresponse().read())["results"]
    return [answer["class_index"] for answer in results]


@pytest.fixture(scope="module")
def results(asked: str) -> Sequence[Result]:
    environments = Path(os.environ["OFFRAMP_CLIENTS"])
    found = []
    for script, environment in SCRIPTS.items():
        done = subprocess.run(
            [environments / environment / "bin" / "python", HERE / script, STUBS],
            input=asked.encode(),
            stdout=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=True,
        )
        found += [Result(**json.loads(line)) for line in done.stdout.splitlines()]
    return found


def test_every_call_works(results: Sequence[Result]) -> None:
    failed = [f"{result.client}: {result.call}: {result.result}" for result in results if not result.worked]
    assert not failed, "\n\n".join(failed)


def test_every_client_was_asked(results: Sequence[Result]) -> None:
    counts = {result.client for result in results}
    assert {
        "tritonclient.http",
        "tritonclient.http.aio",
        "tritonclient.grpc",
        "tritonclient.grpc.aio",
    } < counts
    assert {"kserve REST", "kserve gRPC", "the server's own stubs"} < counts
    assert len(results) > 50


def test_the_page_shows_the_table(results: Sequence[Result]) -> None:
    before, _, rest = PAGE.read_text().partition(START)
    _, _, after = rest.partition(END)
    page = f"{before}{START}{table(results)}{END}{after}"
    if os.environ.get("OFFRAMP_WRITE_TABLE"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "write it with OFFRAMP_WRITE_TABLE=1 make test-clients"


def table(results: Sequence[Result]) -> str:
    versions = {
        line.partition("==")[0]: line.strip()
        for name in set(SCRIPTS.values())
        for line in (HERE / f"{name}.lock").read_text().splitlines()
    }
    rows = ["| client | call | |", "|---|---|---|"]
    rows += [f"| {result.client} | {result.call} | {_mark(result)} |" for result in results]
    tested = " and ".join(versions[name].replace("==", " ") for name in ("tritonclient", "kserve"))
    worked = sum(result.worked for result in results)
    return "\n".join([*rows, "", f"{worked} of {len(results)} calls do as expected, with {tested}.", "", ""])


def _mark(result: Result) -> str:
    if not result.worked:
        return "fails"
    return "refused with the server's words" if result.result.startswith("refused: ") else "works"
