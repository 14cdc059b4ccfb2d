"""Progress on the terminal: a bar for the run, a bar for the phase at hand, and a line per epoch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from training.fitting.problem import Progress as PhaseProgress
from training.methods.interface import Phase


class RunProgress(Protocol):
    """Shows how one run is going, from `with` to its end."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """End, done or not."""

    def step(self, progress: PhaseProgress, images_per_second: float) -> None:
        """Hear how a phase goes."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Hear of an epoch that is done, by its record."""

    def say(self, text: str, style: str | None = None) -> None:
        """Tell the user something."""


ShowRun = Callable[[int, Sequence[Phase], Sequence[int], int], RunProgress]
"""Makes a `RunProgress` of epochs, phases, steps per phase, and epochs that are done already."""


class NoProgress:
    """Shows nothing: what processes after the first show.

    Args:
        epochs: length of the run.
        phases: the passes over the data within an epoch.
        steps: how many steps each of them has.
        done: epochs that are done already.
    """

    def __init__(self, epochs: int, phases: Sequence[Phase], steps: Sequence[int], done: int) -> None:
        pass

    def __enter__(self) -> "NoProgress":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, progress: PhaseProgress, images_per_second: float) -> None:
        """Show nothing."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Show nothing."""

    def say(self, text: str, style: str | None = None) -> None:
        """Show nothing."""


class StepCount:
    """Counts the steps of a whole run.

    Args:
        epochs: length of the run.
        phases: the passes over the data within an epoch.
        steps: how many steps each of them has.

    >>> count = StepCount(2, [Phase("exit 1"), Phase("exit 2")], [10, 20])
    >>> count.total, count.until(1, {"exit 1": 10, "exit 2": 5})
    (60, 45)
    """

    def __init__(self, epochs: int, phases: Sequence[Phase], steps: Sequence[int]) -> None:
        starts = [sum(steps[:index]) for index in range(len(steps))]
        self._before = dict(zip((phase.name for phase in phases), starts, strict=True))
        self._per_epoch = sum(steps)
        self.total = epochs * self._per_epoch

    def until(self, epochs: int, steps: Mapping[str, int]) -> int:
        """Return the steps done after whole `epochs` and some steps of phases of the one at hand.

        Phases before the first of them are none of that epoch's, and count as done.
        """
        skipped = min((self._before[phase] for phase in steps), default=0)
        return epochs * self._per_epoch + skipped + sum(steps.values())


class FitProgress:
    """Shows how a run is going; without a terminal only the line per epoch is printed.

    Args:
        epochs: length of the run.
        phases: the passes over the data within an epoch.
        steps: how many steps each of them has.
        done: epochs that are done already.
    """

    def __init__(self, epochs: int, phases: Sequence[Phase], steps: Sequence[int], done: int) -> None:
        self._console = Console()
        self._epochs, self._epoch = epochs, done
        self._count = StepCount(epochs, phases, steps)
        self._accuracy = ""
        self._steps: dict[str, int] = {}  # done in the epoch at hand, by phase
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._run = self._bars.add_task("run", total=self._count.total, facts="")
        self._phase = self._bars.add_task("phase", facts="")
        self._bars.update(self._run, completed=self._count.until(done, {}))

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def step(self, progress: PhaseProgress, images_per_second: float) -> None:
        """Move both bars."""
        losses = " ".join(f"{loss:.2f}" for loss in progress.losses.values())
        self._bars.update(
            self._phase,
            description=f"epoch {self._epoch + 1}/{self._epochs} · {progress.phase}",
            total=progress.steps,
            completed=progress.step,
            facts=f"loss {losses} · {images_per_second:.0f} images/s" if losses else "",
        )
        self._steps[progress.phase] = progress.step
        steps = self._count.until(self._epoch, self._steps)
        self._bars.update(self._run, completed=steps, facts=self._accuracy)

    def epoch(self, record: dict[str, Any]) -> None:
        """Print the line of an epoch that is done."""
        self._epoch = record["epoch"]
        self._steps.clear()
        self._accuracy = f"accuracy % {percent(record['validation_accuracy'])}"
        self._console.print(epoch_line(record, self._epochs), highlight=False, soft_wrap=True)

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line above the bars."""
        self._console.print(text, style=style, highlight=False, soft_wrap=True)


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """Return what a record says of its epoch, in one line."""
    losses = " ".join("–" if value is None else f"{value:.2f}" for value in record["train_loss"])
    return (
        f"epoch {record['epoch']}/{epochs}: loss {losses} · "
        f"validation accuracy % {percent(record['validation_accuracy'])} · "
        f"{record['images_per_second']:.0f} images/s · {record['seconds']:.0f} s"
    )


def percent(shares: Sequence[float]) -> str:
    """Return shares in 0..1 as percent, one per exit.

    >>> percent([0.5, 0.625])
    '50.0 62.5'
    """
    return " ".join(f"{100 * share:.1f}" for share in shares)


class EpochWatch:
    """Collects an epoch's losses and images from the progress of its phases, and shows it."""

    def __init__(self, progress: RunProgress, clock: Callable[[], float]) -> None:
        self._progress, self._clock, self._begun = progress, clock, clock()
        self._losses: dict[int, float] = {}
        self._images: dict[str, int] = {}

    def __call__(self, progress: PhaseProgress) -> None:
        """Take in how a phase is going."""
        self._images[progress.phase] = progress.images
        # An exit's own task says more of its training than the fusion pass that follows.
        for exit_index, loss in progress.losses.items():
            if progress.phase != "fusion" or exit_index not in self._losses:
                self._losses[exit_index] = loss
        self._progress.step(progress, self.images / max(self._clock() - self._begun, 1e-9))

    @property
    def images(self) -> int:
        """Images trained on so far in this epoch, all phases together."""
        return sum(self._images.values())

    def losses(self, exits: int) -> list[float | None]:
        """Return the mean training loss of each exit; None of one that was not trained."""
        return [self._losses.get(exit_index) for exit_index in range(exits)]
