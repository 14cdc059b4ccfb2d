"""The progress of a job: one line on a terminal, a line a minute elsewhere."""

import time
from collections.abc import Callable
from typing import TextIO

from serving.bulk.answers import Tally

_WIDTH = 24
_TERMINAL_SECONDS, _FILE_SECONDS = 0.2, 60.0


class Progress:
    """Says how far a job is.

    Args:
        images: of the whole job.
        stream: where to write.
        clock: seconds from any origin.
    """

    def __init__(self, images: int, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._images, self._stream, self._clock = images, stream, clock
        self._terminal = stream.isatty()
        self._started_at = self._told_at = clock()
        self._resumed_rows: int | None = None

    def tell(self, tally: Tally) -> None:
        """Say what is done so far; the first call says what was done before."""
        now = self._clock()
        if self._resumed_rows is None:
            self._resumed_rows = tally.rows
            return
        if now - self._told_at < (_TERMINAL_SECONDS if self._terminal else _FILE_SECONDS):
            return
        self._told_at = now
        rate = (tally.rows - self._resumed_rows) / (now - self._started_at)
        self._write(tally, rate)

    def end(self) -> None:
        """Take the line off a terminal."""
        if self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _write(self, tally: Tally, rate: float) -> None:
        share = tally.rows / self._images
        left = f", {(self._images - tally.rows) / rate:,.0f} s left" if rate else ""
        errors = f", {tally.errors:,} errors" if tally.errors else ""
        line = f"{share:4.0%} {tally.rows:,}/{self._images:,} images, {rate:,.0f}/s{errors}{left}"
        if self._terminal:
            filled = "#" * round(share * _WIDTH)
            self._stream.write(f"\r[{filled:<{_WIDTH}}] {line}\x1b[K")
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
