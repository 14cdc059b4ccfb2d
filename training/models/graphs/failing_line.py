"""Why reading a network stopped, and at which line of somebody's code, for messages."""

import linecache
import traceback
from pathlib import Path

import torch

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)


def failing_line(error: BaseException) -> str:
    """Return the innermost line outside torch, as ` (nets.py:12: if x.shape[1] != 3:)`; "" without one."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_TORCH, _HERE, "<"))
    ]
    if not frames or frames[-1].lineno is None:
        return ""
    last = frames[-1]
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    return f" ({Path(last.filename).name}:{last.lineno}: {line})"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its name where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
