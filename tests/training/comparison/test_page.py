import base64
import re
from html.parser import HTMLParser

import pytest

from tests.training.comparison.test_markdown import META_GF, TABLE, view
from tests.training.comparison.test_summary import JOINT, outcome
from training.comparison import figures
from training.comparison.markdown import markdown
from training.comparison.page import page
from training.comparison.summary import MethodSummary, View


class Loads(HTMLParser):
    """Every address of a page, and what it has of active content."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


@pytest.fixture
def compared() -> View:
    other = MethodSummary(META_GF, (outcome(0, (0.8, 0.6)), outcome(1, (0.7, 0.8))))
    joint = MethodSummary(JOINT, (outcome(0, (0.5, 0.7)), outcome(1, (0.6, 0.7))))
    return View("epochs", "equal epochs: 2", (joint, other))


def drawn(view: View) -> dict[str, str]:
    return {
        "budgeted-epochs.png": figures.svg(figures.budgeted(view, "digits")),
        "exits-epochs.png": figures.svg(figures.exits(view, "digits", TABLE)),
        "learning-epochs.png": figures.svg(figures.learning(view, "digits")),
    }


def test_the_page_has_tables_and_figures_and_loads_nothing(compared: View) -> None:
    html = page(markdown("offramp compare …", {"seeds": "0, 1"}, [compared], TABLE, [{}]), drawn(compared))

    read = Loads(html)
    assert len(read.addresses) == 3
    assert not read.tags & {"script", "link", "iframe", "object"}
    assert "default-src 'none'" in html
    assert "url(" not in html
    assert "<strong>75.00</strong> ± 7.07" in html
    for address in read.addresses:
        head, _, body = address.partition(",")
        assert head == "data:image/svg+xml;base64"
        picture = base64.b64decode(body).decode()
        assert "meta-gf" in picture  # labels are text
        assert not re.search(r"(?:href|src)=\"(?!#)(?!http://www\.w3\.org)", picture)


def test_black_is_the_readers_ink(compared: View) -> None:
    picture = figures.svg(figures.exits(compared, "digits", None))
    assert "#000000" not in picture
    assert "currentColor" in picture
    assert "prefers-color-scheme:dark" in picture


def test_the_same_comparison_is_the_same_page(compared: View) -> None:
    assert drawn(compared) == drawn(compared)


def test_html_in_a_report_is_text() -> None:
    html = page("# <script>alert(1)</script>\n\n- data set: <img src=x>\n", {})
    assert not Loads(html).tags & {"script", "img"}


def test_runs_that_broke_have_a_page_too() -> None:
    html = page(markdown("…", {}, [view()], None, [{}]), drawn(view()))
    assert "failed" in html
