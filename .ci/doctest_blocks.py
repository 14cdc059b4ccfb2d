"""Shows the `>>>` examples of docstrings as code.

An extension of griffe, which reads the docstrings for the site. Left alone, Markdown takes `>>>` for a
quotation in a quotation in a quotation.
"""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?! *$)(?P=indent).*)*", re.MULTILINE)


def fenced(text: str) -> str:
    """Return a docstring with each example in a fence of its own."""
    return _EXAMPLE.sub(lambda found: f"{found['indent']}```pycon\n{found[0]}\n{found['indent']}```", text)


class DoctestBlocks(griffe.Extension):
    """Fences the examples of every object that has a docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change one docstring before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
