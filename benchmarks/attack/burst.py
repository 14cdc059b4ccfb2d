"""Kind 13: memory after a burst of large bodies."""

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
    """Send forty bodies of 15 MB at once, twice, and see what memory stays."""
    body = nets.png() + bytes(_BYTES)
    with tempfile.TemporaryDirectory() as folder, serving(nets.tiny(Path(folder))) as target:
        target.ask("/classify", nets.png())
        before = target.forget_peak()

        def send() -> None:
            with suppress(OSError):
                target.ask("/classify", body, timeout=60)

        for _ in range(2):
            senders = [Thread(target=send) for _ in range(_SENDERS)]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
        time.sleep(1)
        yield at_most("memory at its peak", target.memory_mb("VmHWM") - before, 700, "MB")
        yield at_most("memory that stays", target.memory_mb() - before, 100, "MB")
