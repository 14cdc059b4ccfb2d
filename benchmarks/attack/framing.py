"""Kind 11: half-closed senders, requests whose framing or host is in doubt, and SIGHUP."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, is_in
from benchmarks.attack.target import serving


def attack() -> Iterator[Finding]:
    """Send each, and look at the first status line of the answer."""
    body = nets.png()
    length = b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    chunks = b"Content-Type: image/png\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    post = b"POST /classify HTTP/1.1\r\n"
    refused = ("400", "501")
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        models = nets.slow(Path(folder) / "models", 300)
        with serving(models, "--state-dir", str(state)) as target:

            def status(data: bytes, *, half_close: bool = False) -> str:
                answer = target.raw(data, timeout=3, half_close=half_close)
                while answer.startswith(b"HTTP/1.1 100"):
                    answer = answer.partition(b"\r\n\r\n")[2]
                return answer[9:12].decode() or "no answer"

            whole = post + b"Host: localhost\r\n" + length
            yield is_in("half-closed after the request", status(whole, half_close=True), ("200",))
            old = whole.replace(b"HTTP/1.1", b"HTTP/1.0")
            yield is_in("the same in HTTP/1.0", status(old, half_close=True), ("200",))
            coded = post + b"Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n" + chunks
            yield is_in("Transfer-Encoding: gzip, chunked", status(coded), refused)
            yield is_in("no Host", status(post + length), refused)
            yield is_in("two Hosts", status(post + b"Host: localhost\r\nHost: y\r\n" + length), refused)
            both = post + b"Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n" + chunks
            yield is_in("Transfer-Encoding and Content-Length", status(both), refused)
            target.process.send_signal(signal.SIGHUP)
            with suppress(subprocess.TimeoutExpired):
                target.process.wait(20)
            kept = len(list(state.glob("*.json")))
            yield is_in("exit code after SIGHUP, state files", f"{target.process.poll()}, {kept}", ("0, 1",))
