"""An evaluation: scores like the server's, exits counted from 1, tables and files that say the same."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from serving.policy.confidence import TIE, Scorer
from serving.policy.registry import fit_policy
from training.evaluation.curves import Point
from training.evaluation.evaluation import Evaluation, Scored, curve_of, show, write

EVALUATION = Evaluation(
    name="small",
    kind="run",
    data_set="digits",
    split="test",
    images=360,
    fitted_on="144 validation images",
    exit_flops=(1_000_000, 2_500_000),
    cut_flops=(1_000_000, 2_250_000),
    exit_accuracy=(0.5, 0.75),
    curve=(Point(1e6, 1e6, 0.5, (1.0, 0.0)), Point(2e6, 1.75e6, 0.7, (0.5, 0.5))),
)


def test_scores_follow_the_measure_and_answers_are_judged_by_the_likeliest_class() -> None:
    probabilities = np.array([[[0.75, 0.25], [0.5, 0.5]], [[0.125, 0.875], [1.0, 0.0]]], np.float32)
    scored = Scored.of(probabilities, np.array([0, 1]), Scorer("margin", (1.0, 1.0)))
    assert scored.score == pytest.approx(np.array([[0.5, 0.0], [0.75, 1.0]]), abs=TIE)
    assert scored.correct.tolist() == [[True, True], [True, False]]


def test_json_counts_exits_from_one_and_holds_every_budget() -> None:
    values = json.loads(json.dumps(EVALUATION.to_json()))
    assert values["exits"] == [
        {"exit": 1, "flops": 1_000_000, "cut_flops": 1_000_000, "accuracy": 0.5},
        {"exit": 2, "flops": 2_500_000, "cut_flops": 2_250_000, "accuracy": 0.75},
    ]
    assert values["curve"][1] == {
        "budget_flops": 2e6,
        "spent_flops": 1.75e6,
        "accuracy": 0.7,
        "shares": [0.5, 0.5],
    }
    assert values["fitted_on"] == "144 validation images"


def test_the_ends_of_a_curve_are_its_fixed_exits() -> None:
    generator = np.random.default_rng(1)
    halves = [Scored(generator.random((200, 3)), generator.random((200, 3)) < 0.7) for _ in range(2)]
    policy = fit_policy("geometric", halves[0].score, halves[0].correct, [10, 20, 40])
    curve = curve_of(policy, halves[1], [10, 20, 40])
    assert curve[0].spent_flops == pytest.approx(10, rel=0.02)  # new images may fall under a fitted threshold
    assert curve[-1].spent_flops == 40
    assert curve[-1].accuracy == halves[1].correct[:, 2].mean()


def test_what_is_shown_and_what_is_written_agree(tmp_path: Path) -> None:
    text = io.StringIO()
    show(EVALUATION, Console(file=text, width=100))
    for word in ("360", "test", "digits", "144 validation images", "2.50", "75.00", "1.75", "70.00"):
        assert word in text.getvalue()
    write(EVALUATION, tmp_path / "made" / "here")
    written = json.loads((tmp_path / "made" / "here" / "evaluation.json").read_text())
    assert written == json.loads(json.dumps(EVALUATION.to_json()))
    assert (tmp_path / "made" / "here" / "curve.png").read_bytes().startswith(b"\x89PNG")
