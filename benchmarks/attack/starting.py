"""Kind 8: bundles and state files that must not keep the sound ones from being served."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, is_in
from benchmarks.attack.target import serving
from tests.bundles import tiny_bundle


def attack() -> Iterator[Finding]:
    """Put one bad thing beside a sound bundle, start, and ask."""
    bundles: dict[str, Callable[[Path], object]] = {
        "FLOPs of 10^30": _huge_flops,
        "a folder in place of a segment": _folder_for_file,
        "a folder in place of the manifest": _folder_for_manifest,
        "a folder name that is no UTF-8": _not_utf8,
        "a graph that never ends": lambda path: nets.endless(path.parent),
        "accuracy of 400 digits": _long_number,
    }
    with tempfile.TemporaryDirectory() as folder:
        models = nets.tiny(Path(folder))
        for number, spoil in enumerate(bundles.values()):
            spoil(models / f"bad-{number}")
        yield _serves(f"a sound bundle beside {', '.join(bundles)}", models)
    states: dict[str, Callable[[Path], object]] = {
        "a 400-digit integer": lambda path: path.write_text(
            '{"format": 1, "budget_classes": {"0.5": {"factor": 1' + "0" * 400 + "}}}"
        ),
        "100,000 nested lists": lambda path: path.write_text("[" * 100_000),
        "a FIFO": os.mkfifo,
        "a folder": Path.mkdir,
        "bytes that are no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    }
    for name, spoil in states.items():
        with tempfile.TemporaryDirectory() as folder:
            models, state = nets.tiny(Path(folder) / "models"), Path(folder) / "state"
            with serving(models, "--state-dir", str(state)) as target:
                target.ask("/classify", nets.png())
            (path,) = list(state.glob("*.json"))
            path.unlink()
            spoil(path)
            yield _serves(f"state: {name}", models, "--state-dir", str(state))


def _serves(name: str, models: Path, *flags: str) -> Finding:
    environment = {"OFFRAMP_LOAD_TIMEOUT_SECONDS": "5"}
    try:
        flags = ("--default-model", "tiny", *flags)
        with serving(models, *flags, environment=environment) as target:
            found = f"{target.ask('/classify', nets.png())[0]}, metrics {target.ask('/metrics')[0]}"
    except (RuntimeError, OSError) as error:
        found = f"not served ({error})"
    return is_in(name, found, ("200, metrics 200",))


def _huge_flops(path: Path) -> None:
    bundle = tiny_bundle(path)
    _edit(bundle.folder, lambda manifest: manifest["segments"][0].update(body_flops=10**30))


def _long_number(folder: Path) -> None:
    bundle = tiny_bundle(folder)
    path = bundle.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["segments"][0]["validation_accuracy"] = "LONG"
    path.write_text(json.dumps(manifest).replace('"LONG"', "1" + "0" * 400))


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def _folder_for_file(path: Path) -> None:
    bundle = tiny_bundle(path)
    (bundle.folder / "segment_2.onnx").unlink()
    (bundle.folder / "segment_2.onnx").mkdir()


def _folder_for_manifest(path: Path) -> None:
    bundle = tiny_bundle(path)
    (bundle.folder / "manifest.json").unlink()
    (bundle.folder / "manifest.json").mkdir()


def _not_utf8(path: Path) -> None:
    tiny_bundle(path)
    os.rename(os.fsencode(path), os.fsencode(path.parent) + b"/b\xff\xfe")  # noqa: PTH104 - bytes
