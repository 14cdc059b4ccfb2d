"""The cost of an open Live tab of the console for the server: processor time of its requests, against a core.

    python -m benchmarks.console_cost --tabs 50

A tab asks for the news of one model every two seconds, and for the models and their health every fourteen
(the page: fifteen). The tabs ask as often, for so many seconds, from one
client; the server's processor time in that while, less that of a like while without them, is theirs. Other
requests keep arriving in both.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from benchmarks.speed.processes import cpu_seconds
from training.demo.server import started_server

_EVERY_SECONDS = 2.0
_LOOKS = 7
"""Of the news, for each of the models and their health."""
_PICTURE = Path("docs/images/horse.png")


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("exported_models/cifar10-msdnet-int8"))
    parser.add_argument("--tabs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=20, help="images a second beside the tabs")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        started_server(chosen.bundle, Path(folder) / "log", "--threads", "1") as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        over = threading.Event()
        sender = threading.Thread(target=_send, args=(server.url, chosen.rate, over))
        sender.start()
        try:
            path = f"/models/{server.models[0]}/live"
            following = client.get(path).json()["next"]
            _tabs(client, path, following, chosen.tabs, 3)  # once, so that both whiles are warm
            alone = _cost(server.process.pid, lambda: time.sleep(chosen.seconds))
            beside = _cost(
                server.process.pid,
                lambda: _tabs(client, path, client.get(path).json()["next"], chosen.tabs, chosen.seconds),
            )
        finally:
            over.set()
            sender.join()
    share = (beside - alone) / chosen.tabs
    print(
        f"{100 * alone:.1f}% of a core without tabs, {100 * beside:.1f}% with {chosen.tabs}: "
        f"{100 * share:.3f}% of a core for each tab"
    )


def _tabs(client: httpx.Client, path: str, following: int, tabs: int, seconds: float) -> None:
    """Ask as so many tabs do, evenly spread."""
    started = time.monotonic()
    last = [following] * tabs
    number = 0
    while (now := time.monotonic()) < started + seconds:
        due = started + number * _EVERY_SECONDS / tabs
        time.sleep(max(0.0, due - now))
        tab = number % tabs
        last[tab] = client.get(path, params={"since": last[tab]}).json()["next"]
        if number // tabs % _LOOKS == 0:
            client.get("/models")
            client.get(path.replace("/live", "/health"))
        number += 1


def _cost(pid: int, job: Callable[[], None]) -> float:
    """Return the share of a core that a process used while a job ran."""
    begun, used = time.monotonic(), cpu_seconds(pid)
    job()
    return (cpu_seconds(pid) - used) / (time.monotonic() - begun)


def _send(url: str, rate: float, over: threading.Event) -> None:
    picture = _PICTURE.read_bytes()
    with httpx.Client(base_url=url, timeout=60) as client:
        while not over.wait(1 / rate):
            client.post("/classify?budget=40%25", content=picture, headers={"Content-Type": "image/png"})


if __name__ == "__main__":
    main()
