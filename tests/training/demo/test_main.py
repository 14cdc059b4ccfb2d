"""The demo's verdict and its table; the road itself is walked by `make demo`."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from training.demo.config import DemoConfig
from training.demo.road import check, keep_samples, make_bundle, table_of
from training.demo.traffic import Summary
from training.errors import DemoError, RunError

CHEAP = Summary(2e6, 1.9e6, 0.90, (0.8, 0.2), 3.0, 9.0)
FULL = Summary(4e6, 4.0e6, 0.95, (0.0, 1.0), 5.0, 12.0)


def test_kept_budgets_pass() -> None:
    check([CHEAP, FULL])


def test_an_overspent_budget_fails() -> None:
    with pytest.raises(DemoError, match=r"2\.00 MFLOPs cost 2\.40"):
        check([replace(CHEAP, mean_flops=2.4e6), FULL])


def test_depth_that_does_not_help_fails() -> None:
    with pytest.raises(DemoError, match="expected depth to help"):
        check([CHEAP, replace(FULL, accuracy=0.85)])


def test_the_table_has_a_row_for_each_budget() -> None:
    text = io.StringIO()
    Console(file=text, width=100).print(table_of([CHEAP, FULL]))
    (cheap,) = re.findall(r".*2\.00.*", text.getvalue())
    assert re.findall(r"[\d.]+", cheap) == ["2.00", "1.90", "90.0", "80", "20", "3.0", "9.0"]


def test_a_folder_that_is_no_run_is_not_removed(tmp_path: Path) -> None:
    keep = tmp_path / "keep.txt"
    keep.write_text("mine")
    with pytest.raises(RunError, match="not a run folder"):
        make_bundle(DemoConfig(run=tmp_path), Console(file=io.StringIO()))
    assert keep.read_text() == "mine"


def test_one_image_of_each_class_is_kept(tmp_path: Path) -> None:
    keep_samples(tmp_path / "images", [b"a", b"b", b"c"], [7, 3, 7])
    assert {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()} == {
        "7.png": b"c",
        "3.png": b"b",
    }
