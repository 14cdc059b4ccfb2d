"""The bytes of request bodies that the server holds, all requests together, and their limit."""

from contextlib import AbstractContextManager
from types import TracebackType

from serving.errors import OverloadedError

BURST_BYTES = 32 * 2**20


class ByteBudget:
    """Counts the bytes of bodies that have arrived and whose requests are not over; for the event loop alone.

    Args:
        most_bytes: how many there may be.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = self._peak_bytes = 0

    def hold(self, size: int) -> None:
        """Count so many bytes more, or, below 0, fewer."""
        self.held_bytes += size
        self._peak_bytes = max(self._peak_bytes, self.held_bytes)

    def burst_is_over(self) -> bool:
        """Whether, since this was last true, far more was held than is now: there is memory to give back."""
        over = self._peak_bytes > BURST_BYTES and self.held_bytes < self._peak_bytes // 4
        if over:
            self._peak_bytes = self.held_bytes
        return over

    def share(self) -> "Share":
        """Return what one request holds; nothing yet. Leaving it as a context manager gives it all back."""
        return Share(self)


class Share(AbstractContextManager["Share"]):
    """One request's share of a byte budget.

    Args:
        budget: which.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._held_bytes = 0

    def foresee(self, size: int) -> None:
        """Refuse a body that says it is too large for what is left, before any of it is read.

        Raises:
            OverloadedError: it is.
        """
        budget = self._budget
        if budget.held_bytes and budget.held_bytes + size > budget.most_bytes:
            raise OverloadedError(
                f"{budget.held_bytes} of {budget.most_bytes} bytes of request bodies are taken, "
                f"and the request brings {size}",
                retry_after_seconds=1,
            )

    def add(self, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            OverloadedError: all requests together would hold too many.
        """
        self.foresee(size)
        self._budget.hold(size)
        self._held_bytes += size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.hold(-self._held_bytes)
        self._held_bytes = 0
