"""One picture of several bundles: what their cards say, over FLOPs and over processor time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.curves import Measured, main
from tests.bundles import EXIT_FLOPS, tiny_bundle

EVALUATION: dict[str, Any] = {
    "name": "tiny",
    "exits": [
        {"exit": number, "flops": flops, "cut_flops": flops - 50 * number, "accuracy": 0.5 + number / 10}
        for number, flops in enumerate(EXIT_FLOPS, start=1)
    ],
    "curve": [
        {"budget_flops": 1_000, "spent_flops": 1_000, "accuracy": 0.6, "shares": [1, 0, 0]},
        {"budget_flops": 4_000, "spent_flops": 3_900, "accuracy": 0.7, "shares": [0.5, 0, 0.5]},
    ],
}


def test_a_budget_takes_the_mean_time_of_its_exits() -> None:
    found = Measured.of(EVALUATION, np.array([1.0, 2.0, 5.0]))
    assert found.budget_ms == [1.0, 3.0]
    assert found.budget_flops == [1_000, 3_900]
    assert found.exit_accuracy == pytest.approx([0.6, 0.7, 0.8])


def test_bundles_are_timed_drawn_and_published(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    out, picture = tmp_path / "results" / "curves", tmp_path / "pictures" / "curve.png"
    main([str(folder), str(folder), "--rounds", "2", "--out", str(out), "--picture", str(picture)])
    first, second = json.loads(out.with_suffix(".json").read_text())["bundles"]
    assert first["exit_flops"] == second["exit_flops"] == list(EXIT_FLOPS)
    assert 0 < first["exit_ms"][0] <= first["exit_ms"][1] <= first["exit_ms"][2]
    assert "| tiny | 3 | 0.01 |" in out.with_suffix(".md").read_text()
    with Image.open(picture) as image:
        assert image.format == "PNG"
