import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.page import page, targets_table
from benchmarks.speed.ratios import Spread

ROOT = Path(__file__).parents[3]
RESULTS: dict[str, Any] = {
    "net": "a net",
    "budget": "44%",
    "rounds": 5,
    "seconds": 4.0,
    "machine": {"cpu": "a CPU", "cores": 2, "has": ["avx2"], "onnxruntime": "1", "exit_mflops": [1.5, 3.0]},
    "measured": {
        "server_over_full": asdict(Spread(1.5, 1.6, 1.8, 5)),
        "idle_share": asdict(Spread(0.0, 0.001, 0.002, 5)),
    },
    "notes": ["mosec: not measured"],
    "numbers": {
        "requests/s": {"raw float32": [900.0, 1000.0], "offramp float32": [850.0, 880.0]},
        "a request us": {"float32": {"decode": 80.0, "queue": 20.0, "stages": 1000.0, "response": 2.0}},
        "70% load": [{"rate": 600, "exits": {"1": {"answers": 900, "p50_ms": 4.0, "p99_ms": 10.0}}}],
        "lone request ms": {"served": [5.0], "raw": [4.5], "extra": [0.5]},
        "memory": {"precision": "int8", "rows": 4000, "resident_bytes": [2**20] * 21},
    },
}


def test_the_page_has_what_was_measured_and_says_what_is_missed() -> None:
    text = page(RESULTS)
    for expected in (
        "Missed: best of ours, 150 MFLOPs / best full-depth float server (1.6).",
        "| raw float32 | 900 | 950 | 1,000 |",
        "| decode: processor time of PNG to pixels | 80.0 |",
        "| 1 | 900 | 4.0 | 10.0 | 2.50 |",
        "| difference | 0.50 | 0.50 | 0.50 |",
        "- mosec: not measured",
        "4,000 images",
    ):
        assert expected in text
    assert "HTTP: processor time of everything but the model, less decoding and response |  |" in text


@pytest.mark.parametrize("key", sorted(RESULTS["numbers"]))
def test_a_part_that_was_not_run_is_left_out(key: str) -> None:
    numbers = {name: value for name, value in RESULTS["numbers"].items() if name != key}
    assert len(page({**RESULTS, "numbers": numbers})) < len(page(RESULTS))


def test_misses_are_listed_under_the_printed_table() -> None:
    assert targets_table({"tail": Spread(3.5, 3.6, 3.8, 5)}).endswith(
        "\n\nMissed: p99 / p50 of one exit, at 70% load.\n"
    )
    assert "Missed" not in targets_table({"tail": Spread(1, 2, 3, 5)})


def test_the_published_page_is_that_of_the_published_results() -> None:
    for results in (ROOT / "docs" / "benchmarks").glob("engine.json"):
        assert (ROOT / "docs" / "benchmarks.md").read_text() == page(json.loads(results.read_text()))
