"""One LoadGen test against a server; runs in an environment of its own and imports nothing of this project.

    python driver.py TEST.json

The file names port, path, content type, folder of images, scenario, rate, bound and seconds. Prints one line
of JSON: LoadGen's own summary, and how many requests failed.
"""

import array
import json
import queue
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import mlperf_loadgen

_SCENARIOS = {
    "Server": mlperf_loadgen.TestScenario.Server,
    "Offline": mlperf_loadgen.TestScenario.Offline,
    "SingleStream": mlperf_loadgen.TestScenario.SingleStream,
}
_NANOSECONDS = 1_000_000_000
_RESPONSE = array.array("B", b"\0")
_ANSWERED = 200


class Asker:
    """Threads, each with a connection, that send what LoadGen issues.

    Args:
        test: as the file says.
    """

    def __init__(self, test: dict[str, Any]) -> None:
        self._requests = [
            _request(test["path"], test["content_type"], path.read_bytes())
            for path in sorted(Path(test["images"]).iterdir())
        ]
        self._port = test["port"]
        self._samples: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.failed = 0
        for _ in range(test["connections"]):
            threading.Thread(target=self._work, daemon=True).start()

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self._requests)

    def issue(self, samples: list[Any]) -> None:
        """Take what LoadGen wants answered."""
        for sample in samples:
            self._samples.put(sample)

    def _work(self) -> None:
        connection = self._connected()
        while True:
            sample = self._samples.get()
            try:
                status = _ask(connection, self._requests[sample.index])
            except OSError:
                connection, status = self._connected(), 0
            if status != _ANSWERED:
                self.failed += 1
            place, _ = _RESPONSE.buffer_info()
            mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(sample.id, place, 1)])

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=120)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _request(path: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _ask(connection: socket.socket, request: bytes) -> int:
    connection.sendall(request)
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += _more(connection)
    return int(head[9:12])


def _more(connection: socket.socket) -> bytes:
    chunk = connection.recv(65536)
    if not chunk:
        raise ConnectionError("the server hung up")
    return chunk


def settings_of(test: dict[str, Any], images: int) -> Any:
    """LoadGen's settings of a test."""
    settings = mlperf_loadgen.TestSettings()
    settings.scenario = _SCENARIOS[test["scenario"]]
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(1e3 * test["seconds"])
    settings.min_query_count = 1
    settings.performance_sample_count_override = images
    if test["scenario"] == "Server":
        settings.server_target_qps = test["rate"]
        settings.server_target_latency_ns = round(1e6 * test["bound_ms"])
        settings.server_target_latency_percentile = 0.99
    elif test["scenario"] == "Offline":
        settings.offline_expected_qps = test["rate"]
    else:
        settings.single_stream_expected_latency_ns = round(_NANOSECONDS / test["rate"])
    return settings


def summary_of(text: str) -> dict[str, str]:
    """The lines `name : value` and `name: value` of LoadGen's summary."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def main() -> None:
    """Run the test and print what LoadGen says."""
    test = json.loads(Path(sys.argv[1]).read_text())
    asker = Asker(test)
    logs = mlperf_loadgen.LogSettings()
    logs.log_output.outdir = test["logs"]
    logs.log_output.copy_summary_to_stdout = False
    sut = mlperf_loadgen.ConstructSUT(asker.issue, lambda: None)
    qsl = mlperf_loadgen.ConstructQSL(asker.images, asker.images, lambda indices: None, lambda indices: None)
    mlperf_loadgen.StartTestWithLogSettings(sut, qsl, settings_of(test, asker.images), logs)
    text = (Path(test["logs"]) / "mlperf_log_summary.txt").read_text()
    print("RESULT", json.dumps({"summary": summary_of(text), "failed": asker.failed}))


if __name__ == "__main__":
    main()
