"""wrk, Debian's load generator: installed where that is possible, and run on this machine."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 64

_SCRIPT = Path(__file__).with_name("pool.lua")


class WrkMissingError(RuntimeError):
    """There is no wrk and none can be installed."""


@dataclass(frozen=True)
class Load:
    """Figures of one run of wrk."""

    requests: int
    requests_per_second: float
    failed: int
    p50_ms: float
    p99_ms: float


def install() -> str:
    """Return wrk's path, installing it with apt-get where it is missing.

    Raises:
        WrkMissingError: it is missing, and this user or this system cannot install it.
    """
    if found := shutil.which("wrk"):
        return found
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise WrkMissingError("there is no wrk here: install it (Debian: apt-get install wrk, as root)")
    for command in ([apt, "update", "-qq"], [apt, "install", "-y", "-qq", "wrk"]):
        subprocess.run(command, check=False, capture_output=True, timeout=300)
    if found := shutil.which("wrk"):
        return found
    raise WrkMissingError("apt-get could not install wrk")


def load(wrk: str, url: str, pngs: Path, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Post the PNG files of a folder for a while, with one thread.

    Raises:
        RuntimeError: wrk failed.
    """
    command = [wrk, "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s"]
    command += ["--timeout", "10s", "--script", str(_SCRIPT), url, "--", str(pngs)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    if ended.returncode or not lines:
        raise RuntimeError(f"wrk failed on {url}: {ended.stdout[-500:]}{ended.stderr[-500:]}")
    seen = json.loads(lines[0].removeprefix("RESULT "))
    rate = seen["requests"] / seen["seconds"]
    return Load(int(seen["requests"]), rate, int(seen["failed"]), seen["p50_ms"], seen["p99_ms"])
