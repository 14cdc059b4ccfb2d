"""Everything of the server's speed, measured side by side in one run, as ratios of alternating rounds.

    python -m benchmarks.bench                      all parts, on MSDNet-7 in float and int8
    python -m benchmarks.bench --only http,engine   some parts; prints, and writes nothing
    python -m benchmarks.bench --bundle exported_models/cifar10 --int8-bundle exported_models/cifar10-int8

Makes what it needs (nets, images, the rivals' environments) in benchmarks/.work once. Writes
docs/benchmarks/engine.json and docs/benchmarks.md; prints the targets, and which are missed. Traffic goes to
127.0.0.1 alone, and everything is bounded in count and time.
"""

import argparse
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).parents[1]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from benchmarks.speed import assets, parts  # noqa: E402 - ONNX Runtime reads the variable once
from benchmarks.speed.machine import machine  # noqa: E402
from benchmarks.speed.page import page, targets_table  # noqa: E402
from benchmarks.speed.state import Bench  # noqa: E402

WORK = ROOT / "benchmarks" / ".work"


def main() -> int:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"parts, separated by commas, of {', '.join(parts.PARTS)}")
    parser.add_argument("--quick", action="store_true", help="two short rounds: does it run?")
    parser.add_argument("--rounds", type=int, default=5, help="how often each comparison is made")
    parser.add_argument("--seconds", type=float, default=4.0, help="of load in each round")
    parser.add_argument("--rows", type=int, default=200_000, help="images of the memory part")
    parser.add_argument("--bundle", type=Path, help="measure this bundle, not MSDNet-7")
    parser.add_argument("--int8-bundle", type=Path, help="its twin in int8")
    parser.add_argument("--out", type=Path, help="a folder for engine.json and benchmarks.md")
    given = parser.parse_args()
    chosen = given.only.split(",") if given.only else list(parts.PARTS)
    if unknown := sorted(set(chosen) - set(parts.PARTS)):
        parser.error(f"no part {', '.join(unknown)}: expected some of {', '.join(parts.PARTS)}")
    if given.quick:
        given.rounds, given.seconds, given.rows = 2, 1.0, 4_000
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)

    say("nets and images")
    WORK.mkdir(parents=True, exist_ok=True)
    measured = assets.at_hand(WORK, given.bundle, given.int8_bundle) if given.bundle else assets.poster(WORK)
    bench = Bench(measured, WORK, given.rounds, given.seconds, given.rows, say)
    broken = False
    for name in chosen:
        try:
            parts.PARTS[name](bench)
        except Exception as error:  # the others are worth their time all the same
            traceback.print_exc()
            bench.note(f"{name}: not measured to its end. {error}")
            broken = True
    results = {
        "net": measured.name,
        "machine": machine(bench.bundles["float32"]),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "budget": bench.budget,
        "measured": {key: asdict(spread) for key, spread in bench.measured.items()},
        "numbers": bench.numbers,
        "notes": bench.notes,
    }
    results = json.loads(json.dumps(results))
    print(f"\n{targets_table(bench.measured)}")
    if given.out or not (given.only or given.quick or given.bundle):
        _write(results, given.out)
    else:
        print(json.dumps(bench.numbers, indent=1))
    say("done")
    return int(broken)


def _write(results: dict[str, object], folder: Path | None) -> None:
    page_path = (folder or ROOT / "docs") / "benchmarks.md"
    json_path = (folder or ROOT / "docs" / "benchmarks") / "engine.json"
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(results, indent=1) + "\n")
    page_path.write_text(page(results))
    print(f"wrote {json_path} and {page_path}")


if __name__ == "__main__":
    sys.exit(main())
