"""`offramp card BUNDLE`: measure a bundle on test images, and write its model card.

BUNDLE/README.md says what the model is, what it was trained on and how, what every exit and every budget
costs and gets right, and what it is not for. All numbers come from the manifest and from the measurement,
which is kept beside the card as `evaluation.json` (`training.evaluate` has its format).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from serving import command_line
from serving.system.resources import MOST_THREADS


class Arguments(BaseModel):
    """Measure a bundle on test images, and write its model card."""

    bundle: CliPositionalArg[Path] = Field(description="a bundle's folder")
    dataset: str | None = Field(
        None, description="the data set, where the name in the bundle's manifest does not lead there"
    )
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads; all cores where not given"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the bundle that the command line names, and write its card."""
    return command_line.run(lambda: _card(command_line.read(Arguments, "card", argv)))


def _card(arguments: Arguments) -> None:
    from rich.console import Console

    from serving.bundle import read_bundle
    from training.evaluation.config import EvaluateConfig
    from training.evaluation.measure import evaluate_bundle
    from training.evaluation.model_card import card_budgets, write_card

    bundle = read_bundle(arguments.bundle)
    settings = EvaluateConfig(
        dataset=arguments.dataset, threads=arguments.threads, budgets=card_budgets(bundle)
    )
    evaluation, _ = evaluate_bundle(bundle, settings)
    write_card(bundle, evaluation)
    Console().print(f"wrote {bundle.folder}/README.md", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
