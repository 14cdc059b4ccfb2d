"""Kind 6: an engine that never returns."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, is_in
from benchmarks.attack.target import serving

_STALL_SECONDS = 1.5


def attack() -> Iterator[Finding]:
    """Hang one of two models, and look at readiness and liveness."""
    with tempfile.TemporaryDirectory() as folder:
        models = nets.hanging(Path(folder) / "models")
        flags = ("--default-model", "tiny", "--shutdown-timeout-seconds", "2")
        environment = {"OFFRAMP_STALL_SECONDS": str(_STALL_SECONDS)}
        with serving(nets.tiny(models), *flags, environment=environment) as target:

            def hang() -> None:
                with suppress(OSError):
                    target.ask("/classify?model=hanging", nets.white(), timeout=12)

            sender = Thread(target=hang, daemon=True)
            sender.start()
            time.sleep(1.7 * _STALL_SECONDS)
            yield is_in("the sound model still answers", target.ask("/classify", nets.png())[0], (200,))
            yield is_in("ready, since one model is sound", target.ask("/v2/health/ready")[0], (200,))
            up = target.metric('offramp_model_up{model="hanging"}')
            yield is_in("offramp_model_up of the hung model", up, (0.0,))
            status = target.ask("/classify?model=hanging", nets.png(), timeout=5)[0] if not up else "waits"
            yield is_in("the next request to it", status, (503,))
            time.sleep(1.5 * _STALL_SECONDS)
            yield is_in("live after twice the time", target.ask("/v2/health/live")[0], (503,))
            target.process.kill()
            sender.join(15)
