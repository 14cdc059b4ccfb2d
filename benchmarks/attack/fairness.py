"""Kind 5: callers of lists beside callers of single images."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most
from benchmarks.attack.target import serving

_LISTS = 6
_SECONDS = 6.0


def attack() -> Iterator[Finding]:
    """Send lists of 256 from six connections, and single images from one."""
    with tempfile.TemporaryDirectory() as folder, serving(nets.slow(Path(folder), 20)) as target:
        going, pixels = True, nets.npy(256)

        def send_lists() -> None:
            while going:
                with suppress(OSError):
                    if target.ask("/classify", pixels, "application/x-npy", timeout=60)[0] != 200:
                        time.sleep(0.05)

        senders = [Thread(target=send_lists, daemon=True) for _ in range(_LISTS)]
        for sender in senders:
            sender.start()
        time.sleep(1)
        took, served, until = [], 0, time.monotonic() + _SECONDS
        while time.monotonic() < until:
            started = time.monotonic()
            with suppress(OSError):
                served += target.ask("/classify", nets.png(), timeout=30)[0] == 200
            took.append(time.monotonic() - started)
        going = False
        for sender in senders:
            sender.join(30)
        yield at_most("median of single images beside six lists of 256", statistics.median(took), 0.3, "s")
        share = 100 * (1 - served / len(took))
        yield at_most("single images refused", share, 1, "%")
