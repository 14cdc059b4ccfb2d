"""Progress bars of the steps of an adoption."""

from rich.progress import Progress, TaskID


class Bars:
    """A progress bar for each step.

    Args:
        progress: where they are drawn.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int, of: int) -> None:
        """Move the bar of a step."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=of)
        self._progress.update(self._tasks[step], completed=done, total=of)
