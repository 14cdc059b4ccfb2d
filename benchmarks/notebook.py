"""`python -m benchmarks.notebook`: run the cells of docs/tutorial.ipynb and keep what they show.

The cells are plain Python; a last expression is shown as HTML where its value can be, and printed text.
"""

import ast
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.system.atomic import write_atomically

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"

Output = dict[str, Any]


def run_cells(notebook: Path) -> list[list[Output]]:
    """Run a notebook's cells of code in order, in its folder, and return the outputs of each.

    Args:
        notebook: a file of format 4.

    Raises:
        Exception: whatever a cell raises.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    with contextlib.chdir(notebook.parent):
        return [
            list(_run("".join(cell["source"]), f"{notebook.name}, cell {number}", number, names))
            for number, cell in enumerate(cells, start=1)
        ]


def main() -> None:
    """Run the tutorial and write its outputs into it."""
    document = json.loads(NOTEBOOK.read_text())
    results = iter(run_cells(NOTEBOOK))
    count = 0
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"], cell["outputs"] = count, next(results)
    write_atomically(NOTEBOOK, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(f"{count} cells of {NOTEBOOK.name} ran")


def _run(source: str, name: str, number: int, names: dict[str, Any]) -> Iterator[Output]:
    tree = ast.parse(source, name)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), names)  # noqa: S102 - the repository's own notebook
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), names)  # noqa: S307
    if printed.getvalue():
        yield {"name": "stdout", "output_type": "stream", "text": _lines(printed.getvalue())}
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = _lines(value._repr_html_())
        yield {"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    main()
