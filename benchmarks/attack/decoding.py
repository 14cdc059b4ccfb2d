"""Kind 4: a request that costs more than it should: images that unpack to a thousand times their bytes."""

import base64
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most, is_in
from benchmarks.attack.target import post, serving

_IMAGES = 80
_SIDE = 5_000


def attack() -> Iterator[Finding]:
    """Send two lists of bombs, and see how long the others wait, before and after the senders left."""
    bomb = base64.b64encode(nets.zeros_png(_SIDE)).decode()
    body = json.dumps({"images": [bomb] * _IMAGES}).encode()
    with tempfile.TemporaryDirectory() as folder, serving(nets.tiny(Path(folder))) as target:
        statuses: list[object] = []

        def send() -> None:
            with suppress(OSError):
                statuses.append(target.ask("/classify", body, "application/json", timeout=60)[0])

        used, senders = target.cpu_seconds(), [Thread(target=send, daemon=True) for _ in range(2)]
        for sender in senders:
            sender.start()
        time.sleep(0.3)
        took = []
        until = time.monotonic() + 5
        while time.monotonic() < until:
            started = time.monotonic()
            with suppress(OSError):
                target.ask("/classify", nets.png(), timeout=45)
            took.append(time.monotonic() - started)
        yield at_most("slowest other caller beside two lists of bombs", max(took), 1.5, "s")
        yield at_most("median of the others", statistics.median(took), 0.2, "s")
        for sender in senders:
            sender.join(60)
        yield is_in("status of the bombs", ", ".join(map(str, statuses)), ("413, 413",))
        yield at_most("processor time for both", target.cpu_seconds() - used, 4, "s")

        # As many pixels as are allowed at once, from a caller that leaves.
        some = json.dumps({"images": [base64.b64encode(nets.zeros_png(2_500)).decode()] * 12}).encode()
        used = target.cpu_seconds()
        for _ in range(8):
            with target.connect() as connection:
                connection.sendall(post(some, "application/json"))
        time.sleep(6)
        yield at_most("processor time for 8 lists whose senders left", target.cpu_seconds() - used, 2.5, "s")
