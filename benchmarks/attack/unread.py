"""Kind 3: callers that ask and never read the answer."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most, is_in
from benchmarks.attack.target import serving

_CONNECTIONS = 40
_REQUESTS = 30


def attack() -> Iterator[Finding]:
    """Ask for large answers, read none, and see whether they are let go and whether the server can stop."""
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        flags = ("--body-timeout-seconds", "3", "--shutdown-timeout-seconds", "20")
        environment = {"OFFRAMP_WRITE_TIMEOUT_SECONDS": "3"}
        with (
            log.open("wb") as stream,
            ExitStack() as open_ones,
            serving(nets.tiny(Path(folder) / "m"), *flags, stderr=stream, environment=environment) as target,
        ):
            before = target.memory_mb()
            connections = [target.connect(receive_bytes=2048) for _ in range(_CONNECTIONS)]
            for connection in connections:
                open_ones.enter_context(connection)
                connection.settimeout(0.5)
                with suppress(OSError):
                    connection.sendall(request * _REQUESTS)
            time.sleep(8)
            held = len(list(Path(f"/proc/{target.process.pid}/fd").iterdir()))
            yield at_most("descriptors after 8 s (3 s allowed)", held, 30, "descriptors")
            yield at_most("memory while they wait", target.memory_mb() - before, 40, "MB")
            for _ in range(_CONNECTIONS):  # fresh ones, for the stop
                connection = open_ones.enter_context(target.connect(receive_bytes=2048))
                with suppress(OSError):
                    connection.sendall(request * 8)
            time.sleep(0.5)
            started = time.monotonic()
            target.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                target.process.wait(40)
            yield at_most("the stop, while 40 do not read", time.monotonic() - started, 10, "s")
        yield is_in("tracebacks in the log", log.read_text().count("Traceback"), (0,))
