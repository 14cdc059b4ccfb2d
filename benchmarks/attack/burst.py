"""Kind 13: memory after a burst of large bodies."""

import base64
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most
from benchmarks.attack.target import serving

_SENDERS = 40
_BYTES = 15_000_000


def attack() -> Iterator[Finding]:
    """Send forty bodies of 15 MB at once, then forty lists of as much, and see what memory stays."""
    image = base64.b64encode(nets.png() + bytes(100_000)).decode()
    listed = json.dumps({"images": [image] * (_BYTES // len(image))}).encode()
    bodies = ((nets.png() + bytes(_BYTES), "image/png"), (listed, "application/json"))
    with tempfile.TemporaryDirectory() as folder, serving(nets.tiny(Path(folder))) as target:
        target.ask("/classify", nets.png())
        before = target.forget_peak()

        def send(body: bytes, content_type: str) -> None:
            with suppress(OSError):
                target.ask("/classify", body, content_type, timeout=60)

        for body, content_type in bodies:
            senders = [Thread(target=send, args=(body, content_type)) for _ in range(_SENDERS)]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
        time.sleep(1)
        yield at_most("memory at its peak", target.memory_mb("VmHWM") - before, 700, "MB")
        yield at_most("memory that stays", target.memory_mb() - before, 100, "MB")
