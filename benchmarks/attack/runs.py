"""Kind 14: a training whose files are damaged, disk is full, folder is taken, or export was killed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.attack.finding import Finding, is_in, none_of
from benchmarks.attack.target import ROOT
from serving.errors import OfframpError
from serving.system.atomic import locked

_FLIPS = 100
_SECONDS = 300.0
_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
_SMALL = (
    *("--dataset", "digits", "--train-limit", "200", "--threads", "1", "--device", "cpu"),
    *("--model", "msdnet-tiny", "--model-option", "blocks=2", "base=1", "grow_factors=1"),
    *("bottleneck_factors=1", "head_channels=8"),
)


def attack() -> Iterator[Finding]:
    """Train a small run, and do all of that to copies of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = folder / "whole"
        yield is_in(
            "a run of two epochs", _ended(_offramp("fit", "--out", whole, *_SMALL, "--epochs", "2")), ("0",)
        )
        yield from _damaged(whole, folder)
        yield from _full_disk(whole, folder)
        with locked(whole):
            said = _offramp("fit", "--out", whole, "--resume")
        yield is_in(
            "a second process in one --out", _ended(said, "another process"), ("2, says another process",)
        )
        yield from _killed_export(whole, folder)


def _damaged(whole: Path, folder: Path) -> Iterator[Finding]:
    """Damage a run's files; each is to end in an error of ours, or to change nothing that is read."""
    from training.data.split import Split
    from training.runs.run import Run

    def rows_of(run: Path) -> list[list[int]]:
        split = Split.load(run / "split.npz")
        return [subset.rows.tolist() for subset in (split.train, split.validation, split.test)]

    rows = rows_of(whole)

    def read(run: Path) -> str:
        try:
            Run.open(run).model()
            return "nothing changed" if rows_of(run) == rows else "not noticed"
        except OfframpError as error:
            return "named" if str(run) in str(error) else f"does not name the file: {error}"
        except BaseException as error:
            return type(error).__name__

    draw, found = random.Random(7), Counter[str]()
    copy = folder / "damaged"
    for file in ("checkpoint.pt", "split.npz"):
        data = (whole / file).read_bytes()
        for _ in range(_FLIPS):
            place = draw.randrange(8 * len(data))
            spoilt = bytearray(data)
            spoilt[place // 8] ^= 1 << place % 8
            found[f"{file}: {_tried(whole, copy, file, bytes(spoilt), read)}"] += 1
    # A bit of an archive's own dates changes nothing; of the weights every one counts, since all are summed.
    fine = {"checkpoint.pt: named", "split.npz: named", "split.npz: nothing changed"}
    flips = {name: count for name, count in found.items() if name not in fine}
    yield is_in(f"{2 * _FLIPS} single flipped bits: not a named error", flips or "none", ("none",))
    spoils: dict[str, bytes] = {
        "empty": b"",
        "text": b"not what you expect\n",
        "half": b"",
        "nested lists": b"[" * 100_000,
        "a list": b"[1, 2]",
        "bytes": bytes(range(256)) * 50,
    }
    failed = []
    for file in ("checkpoint.pt", "split.npz", "config.json"):
        data = (whole / file).read_bytes()
        for how, content in spoils.items():
            told = _tried(whole, copy, file, data[: len(data) // 2] if how == "half" else content, read)
            failed += [] if told == "named" else [f"{file} {how}: {told}"]
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        (copy / file).unlink()
        (copy / file).mkdir()
        failed += [] if (told := read(copy)) == "named" else [f"{file} a folder: {told}"]
    yield none_of(f"{7 * 3} other damages: not a named error", failed)
    shutil.rmtree(copy)


def _tried(whole: Path, copy: Path, file: str, data: bytes, read: Callable[[Path], str]) -> str:
    if not copy.exists():
        shutil.copytree(whole, copy)
    (copy / file).write_bytes(data)
    told = read(copy)
    shutil.copyfile(whole / file, copy / file)
    return told


def _full_disk(whole: Path, folder: Path) -> Iterator[Finding]:
    """Begin a run where no file may grow over 20 KB, and go on with it where all may."""
    run = folder / "full"
    said = _offramp("fit", "--out", run, *_SMALL, "--epochs", "2", file_bytes=20_000)
    yield is_in("a full disk", _ended(said, "--resume"), ("2, says --resume",))
    yield is_in("drafts left", [path.name for path in run.iterdir() if path.name.startswith(".")], ([],))
    again = _ended(_offramp("fit", "--out", run, "--resume"))
    yield is_in("--resume with room, and the weights", (again, _same_weights(run, whole)), (("0", True),))


def _same_weights(one: Path, other: Path) -> bool:
    from training.runs.checkpoint import Checkpoint

    ones, others = (Checkpoint.load(run / "checkpoint.pt").model for run in (one, other))
    return all(ones[name].equal(value) for name, value in others.items())


def _killed_export(whole: Path, folder: Path) -> Iterator[Finding]:
    """Kill an export while its draft is there; the next one is to leave nothing but the bundle."""
    out = folder / "bundles"
    out.mkdir()
    seen = any(
        _killed_in_time(_words("export", whole, "--out", out / "small", "--force"), out) for _ in range(3)
    )
    yield is_in("an export killed while its draft was there", seen, (True,))
    said = _offramp("export", whole, "--out", out / "small", "--force")
    left = sorted(path.name for path in out.iterdir())
    yield is_in("the next export, and what is in the folder", (_ended(said), left), (("0", ["small"]),))


def _killed_in_time(words: list[str], out: Path) -> bool:
    """Run a command, and kill it once a draft is there; False where it ended before that was seen."""
    with subprocess.Popen(words, cwd=ROOT, env=_environment(), stdout=subprocess.DEVNULL) as one:
        until = time.monotonic() + _SECONDS
        while not [*out.glob(".small.*")] and one.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        one.send_signal(signal.SIGKILL)
    return bool([*out.glob(".small.*")])


def _offramp(
    command: str, *words: object, file_bytes: int | None = None
) -> "subprocess.CompletedProcess[str]":
    limited = [] if file_bytes is None else [sys.executable, "-c", _LIMITED, str(file_bytes)]
    return subprocess.run(
        [*limited, *_words(command, *words)],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def _words(command: str, *words: object) -> list[str]:
    return [sys.executable, "-P", "-m", "offramp", command, *map(str, words)]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _ended(done: "subprocess.CompletedProcess[str]", says: str = "") -> str:
    """How a command ended: its code, whether it said what it should, and whether it was a traceback."""
    told = f", says {says}" if says and says in done.stderr else ""
    return f"{done.returncode}{told}{', a traceback' if 'Traceback' in done.stderr else ''}"
