"""A comparison as one page of HTML: the Markdown report with its figures in it; nothing is loaded."""

import base64
from collections.abc import Iterator, Mapping
from importlib.resources import files

from markdown_it import MarkdownIt
from markdown_it.token import Token

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Even a report that was tampered with loads nothing and runs nothing."""
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>Comparison of training methods</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""


def page(markdown: str, figures: Mapping[str, str]) -> str:
    """Return the report as a page.

    Args:
        markdown: the report; HTML in it is shown as text.
        figures: SVG images, by the addresses that the report names them by.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(markdown)
    for token in _walk(tokens):
        if token.type == "image":
            address = str(token.attrs["src"])
            token.attrs["src"] = f"data:image/svg+xml;base64,{_encoded(figures[address])}"
    body = reader.renderer.render(tokens, reader.options, {})
    # A wide table is scrolled by itself, by the keyboard, too.
    opened = '<div class="table" tabindex="0" role="region" aria-label="Table"><table>'
    body = body.replace("<table>", opened).replace("</table>", "</table></div>")
    style = files("training.comparison").joinpath("report.css").read_text()
    return _PAGE.format(policy=_POLICY, style=style, body=body)


def _encoded(svg: str) -> str:
    return base64.b64encode(svg.encode()).decode()


def _walk(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _walk(token.children or [])
