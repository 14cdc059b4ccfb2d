from pathlib import Path
from typing import Any

import pytest

from benchmarks.methods.variant_catalogue import SHARED, VARIANTS
from benchmarks.methods.variants import Bench
from benchmarks.methods.variants_page import page, table_rows
from training.comparison.contenders import read_contender


def result(variant: str, seed: int, *accuracy: float, view: str = "time") -> dict[str, Any]:
    return {
        "view": view,
        "variant": variant,
        "seed": seed,
        "epochs": 9,
        "seconds": 60.2,
        "accuracy": list(accuracy),
    }


FACTS = {
    "variants": {
        "joint": {"method": "joint", "what": "joint training", "against": "joint"},
        "quick": {"method": "meta-gf:task_batches=9", "what": "outer steps of 9", "against": "joint"},
        "resting": {"method": "meta-gf", "what": "the paper's", "against": "quick"},
    },
    "results": [
        result("joint", 0, 0.30, 0.40),
        result("joint", 1, 0.32, 0.42),
        result("quick", 0, 0.33, 0.41),
        result("quick", 1, 0.33, 0.43),
        result("quick", 2, 0.90, 0.90),  # joint training has no such seed yet
        result("quick", 0, 0.1, 0.2, view="epochs"),
    ],
}


def test_differences_are_paired_by_seed() -> None:
    quick, joint = table_rows(FACTS, "time")

    # Mean over exits: 37 and 38 against 35 and 37, so +2 and +1; last exit +1 and +1.
    assert quick == "| quick | 3 | 9 | 60 | 55.00 | +1.50 ± 0.50 | 58.00 | +1.00 ± 0.00 |"
    assert joint == "| joint | 2 | 9 | 60 | 36.00 |  | 41.00 |  |"


def test_a_variant_without_its_rival_has_no_difference() -> None:
    assert table_rows(FACTS, "epochs") == ["| quick | 1 | 9 | 60 | 15.00 |  | 20.00 |  |"]


def test_the_page_has_the_views_that_there_are() -> None:
    found = page(FACTS)

    assert "## Equal processor time, validation images" in found
    assert "## Equal epochs" in found
    assert "fresh seeds" not in found
    assert "resting" not in found  # nothing has been trained by it
    assert "- **quick**: outer steps of 9 (`meta-gf:task_batches=9`)" in found


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_trained(name: str) -> None:
    assert read_contender(VARIANTS[name].method)
    assert VARIANTS[name].against in VARIANTS


def test_a_finished_run_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SHARED, "train_limit", 160)
    bench = Bench(tmp_path, "digits", 1)

    bench.run("joint", "epochs", 0)
    printed = capsys.readouterr().out
    bench.run("joint", "epochs", 0)

    (joint,) = bench.results()
    assert (joint.variant, joint.epochs, len(joint.accuracy)) == ("joint", 1, 4)
    assert joint.seconds > 0
    assert "epochs-joint-0" in printed
    assert not capsys.readouterr().out  # it was there already
