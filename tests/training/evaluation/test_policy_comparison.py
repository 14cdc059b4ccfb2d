"""The comparison of all policies: its base, its files, and measures that are missing."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.serving.calibrations import FLOPS, table
from training.evaluation.candidates import DEFAULT_CANDIDATE
from training.evaluation.evaluation import Scored
from training.evaluation.policy_comparison import Comparison, compare, show, write


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    measures = ("max_probability", "margin")
    fitted, measured = (
        {
            measure: Scored(drawn.score**power, drawn.correct)
            for measure, power in zip(measures, (1, 2), strict=True)
        }
        for drawn in (table(300, 0), table(400, 1))
    )
    return compare(fitted, measured, FLOPS)


def test_only_measures_that_were_computed_compete(comparison: Comparison) -> None:
    assert {standing.candidate.measure for standing in comparison.standings} == {"max_probability", "margin"}
    assert len(comparison.standings) == 2 * 4
    assert comparison.images == 400


def test_gains_are_over_the_default(comparison: Comparison) -> None:
    base = next(standing for standing in comparison.standings if standing.candidate == DEFAULT_CANDIDATE)
    assert (base.gain, base.standard_error) == (0, 0)
    for standing in comparison.standings:
        bought = np.interp(standing.spent_flops, base.spent_flops, base.accuracy)
        assert standing.gain == pytest.approx(standing.mean_accuracy - bought.mean())


def test_the_files(comparison: Comparison, tmp_path: Path) -> None:
    write(comparison, tmp_path / "out", "a title")
    found = json.loads((tmp_path / "out" / "policies.json").read_text())
    assert found["images"] == 400
    assert [len(candidate["accuracy"]) for candidate in found["candidates"]] == [12] * 8
    assert found["candidates"][1]["options"] == {"stiffness": 100.0}
    assert (tmp_path / "out" / "policies.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_names_every_rival(comparison: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    show(comparison, Console(width=200))
    printed = capsys.readouterr().out
    assert all(str(standing.candidate) in printed for standing in comparison.standings)
