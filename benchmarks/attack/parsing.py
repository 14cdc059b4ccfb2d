"""Kind 1: time that grows faster than the input, where a client's bytes are read."""

import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most, is_in
from benchmarks.attack.target import ROOT, Target, probing, serving
from tests.bundles import tiny_segments

_DIGITS = 8_000
_LISTS = 4_600_000  # 14 MB of JSON
_NODES = 60_000
_CHECK_SECONDS = 90


def attack() -> Iterator[Finding]:
    """Send budgets, JSON and a graph that quadratic readers choke on."""
    with tempfile.TemporaryDirectory() as folder:
        with serving(nets.tiny(Path(folder) / "models")) as target:
            budget = "1" * _DIGITS + "!"
            yield from _held_up(
                target, f"budget of {_DIGITS} digits", f"/classify?budget={budget}", nets.png()
            )
            yield from _held_up(target, "the same for /plan", f"/models/tiny/plan?budget={budget}", None)
            many = b'{"images":[' + b",".join([b"[]"] * _LISTS) + b"]}"
            yield from _held_up(target, "14 MB of empty lists", "/classify", many, "application/json")
            texts = b'{"images":[' + b",".join([b'""'] * _LISTS) + b"]}"
            yield from _held_up(target, "14 MB of empty texts", "/classify", texts, "application/json")
            deep = b'{"images":' + b"[" * 7_000_000
            yield from _held_up(target, "7,000,000 brackets", "/classify", deep, "application/json")
            yield from _infer(target)
        yield _graph(Path(folder) / "graph")


def _infer(target: Target) -> Iterator[Finding]:
    """Send inference requests of 14 MB of small parts, and one of brackets."""
    tensor = b'{"name":"images","datatype":"UINT8","shape":[1,8,8,3],"data":[1]}'
    bodies = {
        "outputs": b'{"inputs":['
        + tensor
        + b'],"outputs":['
        + b'{"name":""},' * 1_150_000
        + b'{"name":""}]}',
        "inputs": b'{"inputs":[' + b",".join([tensor] * 200_000) + b"]}",
        "brackets": b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1],"data":' + b"[" * 14_000_000,
    }
    for name, body in bodies.items():
        yield from _held_up(
            target, f"14 MB of {name} to infer", "/v2/models/tiny/infer", body, "application/json"
        )


def _held_up(
    target: Target, name: str, path: str, body: bytes | None, content_type: str = "image/png"
) -> Iterator[Finding]:
    before = target.forget_peak()
    used = target.cpu_seconds()
    status: Any = "no answer"
    with probing(target) as took, suppress(OSError):
        status = target.ask(path, body, content_type)[0]
    yield is_in(f"{name}: status", status, (400, 413, 414, 422, 431))
    yield at_most(f"{name}: processor time", target.cpu_seconds() - used, 0.35, "s")
    yield at_most(f"{name}: slowest other answer", max(took), 0.5, "s")
    yield at_most(f"{name}: memory at its peak", target.memory_mb("VmHWM") - before, 120, "MB")


def _graph(folder: Path) -> Finding:
    """A first segment with idle nodes that all read the images."""
    model = onnx.load_from_string(tiny_segments()[0])
    nodes = [helper.make_node("Identity", ["images"], [f"idle_{number}"]) for number in range(_NODES)]
    model.graph.node.extend(nodes)
    path = nets.tiny(folder) / "tiny"
    (path / "segment_1.onnx").write_bytes(data := model.SerializeToString(deterministic=True))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["segments"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-m", "serving.check", str(path)],
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=_CHECK_SECONDS,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return at_most(f"serving.check of {_NODES:,} idle nodes: processor time", used, 10, "s")
