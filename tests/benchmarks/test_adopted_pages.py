"""The pages of benchmarks about adopted networks say what was measured."""

from typing import Any

import numpy as np

from benchmarks import adopted_picture, ensembles
from benchmarks.earlyon import __main__ as earlyon
from benchmarks.earlyon.network import ResNet
from tests.training.advising.test_report import advice
from training.advising import report


def test_the_picture_has_a_row_for_every_point() -> None:
    found = report.as_json(advice())
    page = adopted_picture.as_markdown(found)
    assert page.count("\n| ") == 1 + len(found["points"])
    assert "![Accuracy over FLOPs and over milliseconds](../images/advice.png)" in page
    assert all(f"- {sentence}" in page for sentence in found["sentences"])


def test_each_setting_of_earlyon_has_the_same_cost_beside_it() -> None:
    point = {"accuracy": 0.8, "share": 0.774, "met": False}
    ours = {"accuracy": 0.905, "share": 0.771}
    results: dict[str, Any] = {
        "images": 50_000,
        "fitted": 5_000,
        "judged": 5_000,
        "offramp": {
            "seconds": 100.0,
            "exits": [0.38, 0.7, 1.03],
            "exit_accuracy": [0.767, 0.85, 0.917],
            "changed": 0,
            "budgets": {"0.5": {"accuracy": 0.845, "share": 0.5}, "0.8": None},
        },
        "earlyon": {
            "version": "0.3.0",
            "seconds": 110.0,
            "epochs": 2,
            "exit_accuracy": [0.388, 0.6, 0.917],
            "points": [
                {**point, "asked": "budget", "value": 0.5, "offramp": ours},
                {**point, "asked": "drop", "value": 0.005, "offramp": None},
            ],
        },
    }
    page = earlyon.as_markdown(results)
    assert "| 50% (said to be out of reach) | 80.00 for 77.4% | 90.50 for 77.1% |" in page
    assert "| at most 0.5 points lost | 80.00 for 77.4% | cheaper than the first exit |" in page
    assert "Accuracy by budget: 50%: 84.50." in page


def test_the_resnet_is_the_published_one() -> None:
    parameters = {name: values.numel() for name, values in ResNet(blocks=3).named_parameters()}
    assert sum(parameters.values()) == 269_722  # He et al., section 4.2: 0.27 million
    assert {"layer3.2.conv2.weight", "layer1.0.bn1.bias", "linear.weight"} <= parameters.keys()


def test_an_ensemble_is_fitted_to_labels_or_to_the_last_exit() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), (50, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 50)
    sizes = {way: len(ensembles.combined(way, probabilities, labels).own) for way in ensembles.WAYS}
    assert sizes == {"alone": 0, "early": 1, "early, without labels": 1, "all": 2}
    by_labels, by_answers = (ensembles.combined(way, probabilities, labels) for way in ensembles.WAYS[1:3])
    assert by_labels != by_answers
