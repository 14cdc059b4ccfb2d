"""Loss weightings: what each exit's loss counts, as pure functions of the exits, the epoch and the epochs."""

from collections.abc import Callable

LossWeighting = Callable[[int, int, int], tuple[float, ...]]


def plain(exits: int, epoch: int, epochs: int) -> tuple[float, ...]:
    """Return 1 for every exit.

    >>> plain(3, epoch=0, epochs=10)
    (1.0, 1.0, 1.0)
    """
    return (1.0,) * exits


def sdn_tau(exits: int, epoch: int, epochs: int) -> tuple[float, ...]:
    """Return τ_j = min(C_j, 0.01 + epoch·C_j/epochs), and 1 for the last exit.

    The early exits' losses grow with the epochs, so that the backbone finds its features before they pull
    at it. C rises in equal steps to 0.9 at the last exit but one: 0.15, 0.3 … 0.9 for seven exits.

    Source: Kaya, Hong, Dumitras, "Shallow-Deep Networks", ICML 2019, with the numbers of its public
    code. Deviation: for another number of exits the steps are equal too, where the source takes each
    exit's share of the full depth's cost.

    Args:
        exits: how many there are.
        epoch: from 0.
        epochs: length of the run.

    >>> [round(weight, 3) for weight in sdn_tau(7, epoch=0, epochs=100)]
    [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 1.0]
    >>> [round(weight, 3) for weight in sdn_tau(7, epoch=99, epochs=100)]
    [0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0]
    """
    ceilings = [0.9 * (exit_index + 1) / (exits - 1) for exit_index in range(exits - 1)]
    return (*(min(ceiling, 0.01 + epoch * ceiling / epochs) for ceiling in ceilings), 1.0)


LOSS_WEIGHTINGS: dict[str, LossWeighting] = {"plain": plain, "sdn-tau": sdn_tau}
