"""Runs that earlier versions made are read, gone on with and exported; they lie in `made_before/`.

Each has one of two epochs on digits, and gave these logits for one image where it was made.

    msdnet-meta-gf    revision a255275: before recipes, and before the packages had their present places
    ladder-fast       revision 2d7b6d3: the first with recipes; its average counts its updates
"""

import shutil
from pathlib import Path

import pytest
import torch

from training.evaluation.config import EvaluateConfig
from training.evaluation.measure import evaluate_run
from training.fitting.fit import fit
from training.runs.checkpoint import Checkpoint
from training.runs.recipe import recipe_of
from training.runs.run import Run
from training.runs.start import resumed

MADE_BEFORE = Path(__file__).parent / "made_before"
LOGITS = {
    "msdnet-meta-gf": (
        [-0.9053, 0.1369, -0.3627, 0.4087, 0.2751, 0.0342, -0.1852, 0.2304, -0.1615, -0.6761],
        [0.1484, -1.4791, -0.5066, -0.6937, -0.4003, -0.3606, -1.1973, -0.2572, -1.2387, 1.1368],
    ),
    "ladder-fast": (
        [-2.2185, -3.7508, -0.8032, 1.5216, 4.0925, -1.3713, 1.4254, 4.0269, -4.7896, -0.4736],
        [2.4207, -7.1292, -0.0643, 0.8519, 0.7909, 3.0473, 1.8271, -5.7135, -4.4822, 3.5428],
    ),
}


@pytest.fixture(params=LOGITS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(MADE_BEFORE / request.param, tmp_path / request.param))


def test_all_of_them_are_tested() -> None:
    assert {path.name for path in MADE_BEFORE.iterdir()} == set(LOGITS)


def test_its_weights_mean_what_they_meant(run: Run) -> None:
    pixels = torch.arange(32 * 32 * 3).reshape(1, 32, 32, 3) % 251

    with torch.no_grad():
        logits = run.model()(pixels.to(torch.uint8))

    expected = torch.tensor(LOGITS[run.folder.name]).unsqueeze(1)
    torch.testing.assert_close(torch.stack(logits), expected, atol=1e-3, rtol=0)


def test_it_is_gone_on_with_and_judged(run: Run) -> None:
    again, data = resumed(run.folder, {"max_minutes": 60.0, "device": "cpu"})
    fit(again, data)

    assert Checkpoint.load(run.checkpoint_path).epoch == 2
    assert recipe_of(again)["epochs"] == 2
    evaluation, _ = evaluate_run(again, EvaluateConfig())
    assert len(evaluation.exit_accuracy) == 2
