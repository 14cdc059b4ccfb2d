"""Mean losses of a phase, per exit."""

from collections.abc import Sequence


class Means:
    """Running mean of each exit's loss over a phase."""

    def __init__(self) -> None:
        self._sums: dict[int, float] = {}
        self._counts: dict[int, int] = {}

    def add(self, losses: list[dict[int, float]], exits: Sequence[int] | None) -> None:
        """Take in the losses of some steps: those of `exits`, or all where None."""
        for step in losses:
            for exit_index, loss in step.items():
                if exits is not None and exit_index not in exits:
                    continue
                self._sums[exit_index] = self._sums.get(exit_index, 0.0) + loss
                self._counts[exit_index] = self._counts.get(exit_index, 0) + 1

    def means(self) -> dict[int, float]:
        """Return the mean per exit."""
        return {exit_index: total / self._counts[exit_index] for exit_index, total in self._sums.items()}
