"""Memory for large arrays, used again once no array over it is alive.

Fresh memory costs a page fault for every 4 KB, and 32 rows of MSDNet-7's features are 18 MB: as much time as
it takes to copy them. ONNX Runtime's arena does the same for the outputs that it allocates itself.
"""

import math
import weakref
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_SPARE = 4  # pieces of a size: a stage's outputs, and those of the batch before
_MOST_SPARE_BYTES = 128 * 2**20  # of a size: one that is as large as a batch of photographs' features


class BufferPool:
    """Hands out arrays; from any thread."""

    def __init__(self) -> None:
        self._spare: defaultdict[int, list[memoryview]] = defaultdict(list)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array of any numbers; its memory comes back when it and all views of it are gone."""
        count = math.prod(shape)
        size = 1 << max(0, count * np.dtype(dtype).itemsize - 1).bit_length()
        spare = self._spare[size]
        try:
            memory = spare.pop()
        except IndexError:
            memory = np.empty(size, np.uint8).data
        whole = np.frombuffer(memory, dtype, count)
        # Views of it, and views of those, all hold `whole` itself, since what is under it is no array.
        weakref.finalize(whole, _give_back, spare, memory).atexit = False
        return whole.reshape(shape)

    def clear(self) -> None:
        """Let go of what is spare; what is in use comes back as ever."""
        for spare in self._spare.values():
            spare.clear()


def _give_back(spare: list[memoryview], memory: memoryview) -> None:
    if len(spare) < _MOST_SPARE and (len(spare) + 1) * memory.nbytes <= _MOST_SPARE_BYTES:
        spare.append(memory)
