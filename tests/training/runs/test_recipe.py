"""A recipe holds what trains a run again, the start's included, and no path."""

import json
from pathlib import Path

import pytest

from tests.training.small_runs import trained
from training.runs.recipe import KEPT, recipe_of


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "start", epochs=1, method="joint").folder


def test_it_names_method_options_length_and_settings(start: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", epochs=1, method="meta-gf", init_from=start)
    recipe = recipe_of(run)
    assert (recipe["epochs"], recipe["seed"], recipe["weights"]) == (1, 0, "softmax")
    assert {name: recipe[name] for name in KEPT} == {name: run.config.stored()[name] for name in KEPT}
    first = recipe["started_from"]
    assert isinstance(first, dict)
    assert (first["method"], first["epochs"], first["started_from"]) == ("joint", 1, None)
    assert str(start.parent) not in json.dumps(recipe)


def test_a_start_that_is_gone_is_null(start: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", epochs=1, method="joint", init_from=start)
    start.rename(start.with_name("gone"))
    try:
        assert recipe_of(run)["started_from"] is None
    finally:
        start.with_name("gone").rename(start)
