"""The tutorial notebook runs, cell by cell, and shows what the repository's copy of it shows."""

import json
from pathlib import Path

import pytest

from benchmarks.notebook import NOTEBOOK, run_cells


def kinds(outputs: list[dict[str, object]]) -> list[tuple[object, list[str]]]:
    """What kinds of output there are; the numbers in them may differ between processors."""
    return [(output["output_type"], sorted(output.get("data", ()))) for output in outputs]  # type: ignore[call-overload]


def test_the_tutorial_runs_and_its_outputs_are_kept() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [kinds(outputs) for outputs in run_cells(NOTEBOOK)] == [kinds(cell["outputs"]) for cell in cells]
    shown = json.dumps(cells)
    assert "data:image/png;base64," in shown
    assert "/home/" not in shown


def test_a_cell_that_fails_is_named(tmp_path: Path) -> None:
    notebook = tmp_path / "broken.ipynb"
    cells = [{"cell_type": "markdown", "source": "1 / 0"}, {"cell_type": "code", "source": ["1 / 0"]}]
    notebook.write_text(json.dumps({"cells": cells}))
    with pytest.raises(ZeroDivisionError) as caught:
        run_cells(notebook)
    assert str(caught.traceback[-1].path).endswith("broken.ipynb, cell 1")
