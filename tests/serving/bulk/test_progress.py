"""The progress line: one on a terminal, a line a minute elsewhere."""

import io

from serving.bulk.answers import Tally
from serving.bulk.progress import Progress
from tests.serving.fakes import Clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, step_seconds: float) -> str:
    clock = Clock()
    progress = Progress(1000, stream, clock)
    for rows in (200, 400, 600):
        progress.tell(Tally(rows=rows, errors=2))
        clock.now += step_seconds
    progress.end()
    return stream.getvalue()


def test_a_terminal_gets_one_line_that_is_taken_off_at_the_end() -> None:
    said = told(Terminal(), 1.0)
    assert said.startswith("\r[##########              ]  40% 400/1,000 images, 200/s, 2 errors, 3 s left")
    assert said.endswith("\r\x1b[K")


def test_a_file_gets_a_line_a_minute() -> None:
    assert told(io.StringIO(), 1.0) == ""
    assert told(io.StringIO(), 40.0) == " 60% 600/1,000 images, 5/s, 2 errors, 80 s left\n"
