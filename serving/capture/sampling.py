"""Uniform samples of a stream whose end is not known."""

import heapq
from collections.abc import Iterable


class SmallestKeys:
    """A sample of at most `size` items: those with the smallest random keys.

    Each item of the stream is in it with the same chance, as in a reservoir. Unlike reservoirs, samples of
    several processes, and of before and after a restart, are one sample again: the smallest keys of all.
    (Bottom-k: E. Cohen, H. Kaplan, *Summarizing Data using Bottom-k Sketches*, PODC 2007.)

    Args:
        size: of the sample.
        keys: of the items so far, in [0, 1).
    """

    def __init__(self, size: int, keys: Iterable[float] = ()) -> None:
        self._size = size
        self._largest_first = [-key for key in sorted(keys)[:size]]
        heapq.heapify(self._largest_first)

    @property
    def bound(self) -> float:
        """An item whose key is not below this does not enter."""
        return 1.0 if len(self._largest_first) < self._size else -self._largest_first[0]

    def add(self, key: float) -> bool:
        """Take an item in, which may push another one out; say whether it entered."""
        if key >= self.bound:
            return False
        if len(self._largest_first) < self._size:
            heapq.heappush(self._largest_first, -key)
        else:
            heapq.heapreplace(self._largest_first, -key)
        return True


def sample_size(most_images: int, most_bytes: int, image_bytes: int) -> int:
    """Return how many images a sample holds, at least one.

    >>> sample_size(1000, 64_000, image_bytes=192), sample_size(1000, 64_000, image_bytes=3072)
    (333, 20)
    """
    return max(1, min(most_images, most_bytes // image_bytes))
