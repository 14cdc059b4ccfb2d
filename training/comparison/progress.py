"""Progress of a whole comparison: one bar over all its runs, and a line for each that ends."""

from collections.abc import Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from training.fitting.problem import Progress as PhaseProgress
from training.fitting.progress import StepCount, epoch_line, percent
from training.methods.interface import Phase


class CompareProgress:
    """One bar over `runs` runs; without a terminal, a line per epoch instead.

    Args:
        runs: how many runs there are, those included that are done already.
    """

    def __init__(self, runs: int) -> None:
        self._console = Console()
        self.runs, self.done, self.name = runs, 0, ""
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.1f}%"),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._bar = self._bars.add_task("", total=runs, facts="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, name: str) -> None:
        """Turn to the run `name`."""
        self.name = name
        self.show(0.0, "")

    def end(self, text: str, style: str | None = None) -> None:
        """Count the run at hand as done and print what came of it."""
        self.done += 1
        self.say(f"[{self.done}/{self.runs}] {self.name}: {text}", style)
        self.show(0.0, "")

    def show(self, share: float, facts: str) -> None:
        """Move the bar to `share` (0..1) of the run at hand."""
        description = f"run {min(self.done + 1, self.runs)}/{self.runs} {self.name}"
        self._bars.update(self._bar, completed=self.done + share, description=description, facts=facts)

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line above the bar."""
        self._console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    def fitting(self, epochs: int, phases: Sequence[Phase], steps: Sequence[int], done: int) -> "_RunOfMany":
        """Return what shows one run's training; `training.fitting.fit.fit` calls this."""
        return _RunOfMany(self, epochs, StepCount(epochs, phases, steps), done, self._console.is_terminal)


class _RunOfMany:
    """A run that moves the common bar; implements `training.fitting.progress.RunProgress`."""

    def __init__(
        self, whole: CompareProgress, epochs: int, count: StepCount, done: int, terminal: bool
    ) -> None:
        self._whole, self._epochs, self._count = whole, epochs, count
        self._epoch, self._terminal, self._accuracy = done, terminal, ""
        self._steps: dict[str, int] = {}  # done in the epoch at hand, by phase

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The common bar goes on."""

    def step(self, progress: PhaseProgress, images_per_second: float) -> None:
        self._steps[progress.phase] = progress.step
        steps = self._count.until(self._epoch, self._steps)
        where = (
            f"epoch {self._epoch + 1}/{self._epochs} · {progress.phase} · {images_per_second:.0f} images/s"
        )
        self._whole.show(steps / self._count.total, f"{where}{self._accuracy}")

    def epoch(self, record: dict[str, Any]) -> None:
        self._epoch = record["epoch"]
        self._steps.clear()
        self._accuracy = f" · accuracy % {percent(record['validation_accuracy'])}"
        if not self._terminal:
            self._whole.say(f"{self._whole.name}: {epoch_line(record, self._epochs)}")

    def say(self, text: str, style: str | None = None) -> None:
        self._whole.say(f"{self._whole.name}: {text}", style)
