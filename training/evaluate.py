"""`offramp evaluate RUN|BUNDLE`: accuracy per exit, and what budgets over all exits buy.

A run is computed by torch, with thresholds fitted on its validation images. A bundle is computed by the
serving engine, with the thresholds that it would be served with. Both are measured on test images.

`evaluation.json` holds: name, kind ("run" or "bundle"), data_set, split, images, fitted_on; `exits`, a list
of {exit (from 1), flops, cut_flops, accuracy}, cut_flops being the cost of the net cut after that exit's
segment, without earlier heads; `curve`, a list of {budget_flops, spent_flops, accuracy, shares}. FLOPs
are per image and count every earlier head; accuracies and shares (one per exit) lie in 0..1. `curve.png`
draws both. With `--policy all`, `policies.json` and `policies.png` compare what could turn budgets into
thresholds (`training.evaluation.policy_comparison`).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from serving import command_line
from training.evaluation.config import EvaluateConfig


class Arguments(EvaluateConfig):
    """Measure accuracy per exit, and what budgets over all exits buy."""

    folder: CliPositionalArg[Path] = Field(description="a run folder or a bundle", title="RUN|BUNDLE")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate what the command line names; print tables, write JSON and a figure."""
    return command_line.run(lambda: _evaluate(command_line.read(Arguments, "evaluate", argv)))


def _evaluate(arguments: Arguments) -> None:
    from rich.console import Console

    from serving.bundle import read_bundle
    from training.evaluation import policy_comparison
    from training.evaluation.evaluation import show, write
    from training.evaluation.measure import evaluate_bundle, evaluate_run
    from training.runs.run import Run

    folder = arguments.folder
    if (folder / "manifest.json").exists():
        evaluation, comparison = evaluate_bundle(read_bundle(folder), arguments)
        out = arguments.out or Path("runs") / f"evaluation-{evaluation.name}"
    else:
        evaluation, comparison = evaluate_run(Run.open(folder), arguments)
        out = arguments.out or folder / "evaluation"
    console = Console()
    show(evaluation, console)
    write(evaluation, out)
    files = ["evaluation.json", "curve.png"]
    if comparison is not None:
        policy_comparison.show(comparison, console)
        policy_comparison.write(comparison, out, f"{evaluation.name} on {evaluation.data_set}")
        files += ["policies.json", "policies.png"]
    console.print(f"wrote {', '.join(files)} to {out}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
