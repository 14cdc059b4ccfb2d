"""Notebooks show answers and models: escaped, self-contained, and with what the numbers say."""

import base64
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.answer import Answer, ExitReport
from serving.model import Model, ServingConfig
from serving.options import ClassifyOptions
from serving.rich_display import Bar, card, png
from tests.bundles import CLASSES, tiny_bundle, tiny_images

_VOID = {"img"}


class Reader(HTMLParser):
    """Notes texts and attributes, and holds that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    bundle = tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")
    with Model.load(bundle, threads=1, rules=ServingConfig(controller=False)) as model:
        yield model


def pixels(source: str) -> np.ndarray:
    head, _, body = source.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def test_an_explained_answer_shows_its_image_and_what_every_exit_says(model: Model) -> None:
    image = tiny_images(1)[0].copy()
    (answer,) = model.classify(image, ClassifyOptions("40%", explain=True))
    before = image.copy()
    image[:] = 0  # the caller's array is the caller's again
    read = Reader(answer._repr_html_())

    (source,) = read.sources
    assert (pixels(source) == before).all()
    assert answer.exits is not None
    assert read.texts[0] == answer.class_name
    for report in answer.exits:
        place = read.texts.index(f"exit {report.exit}")
        words = read.texts[place + 1]
        assert words.startswith(f"{report.class_name} {report.confidence:.3f}")
        sign = "≥" if report.leaves else "<"
        assert report.threshold is None or words.endswith(f"{sign} {report.threshold:.3f}")


def test_answers_of_batches_keep_no_image(model: Model) -> None:
    answers = model.classify(tiny_images(3), "40%")
    assert [answer.image for answer in answers] == [None] * 3
    read = Reader(answers[0]._repr_html_())
    assert read.sources == []
    assert f"exit {answers[0].exit}" in read.texts


def test_a_score_of_another_measure_has_no_mark_on_the_bar_of_confidence() -> None:
    report = ExitReport(1, "ant", 0, 0.9, score=-0.3, threshold=0.5, leaves=False, flops=10)
    html = Answer("ant", 0, 0.9, 2, 20, 20.0, "tiny", exits=(report,))._repr_html_()
    assert "ant 0.900 · score -0.300 < 0.500" in Reader(html).texts[-1].replace("−", "-")
    assert "currentcolor" not in html


def test_a_model_shows_its_exits(model: Model) -> None:
    read = Reader(model._repr_html_())
    assert read.texts[0] == "tiny"
    assert f"{len(CLASSES)} classes" in read.texts[1]
    costs = [text for text in read.texts if "FLOPs" in text]
    assert [cost.partition(" ·")[0] for cost in costs] == ["1.0 kFLOPs", "3.0 kFLOPs", "7.0 kFLOPs"]
    for cost, segment in zip(costs, model.manifest.segments, strict=True):
        assert cost.endswith(f"{segment.validation_accuracy:.1%} right")


def test_a_closed_model_says_so(tmp_path: Path) -> None:
    model = Model.load(tiny_bundle(tmp_path / "tiny"), threads=1)
    model.close()
    assert any(text.endswith("; closed") for text in Reader(model._repr_html_()).texts)


def test_every_text_is_escaped() -> None:
    evil = '<script>alert("1")</script>'
    read = Reader(card(evil, [evil], [Bar(evil, 0.5, evil, mark=0.2, strong=True)], picture=f'"><b>{evil}'))
    assert read.tags <= {"div", "table", "tr", "td", "img"}
    assert read.texts.count(evil) == 4


@pytest.mark.parametrize(("share", "width"), [(-1.0, "0.0"), (0.25, "25.0"), (7.0, "100.0")])
def test_bars_stay_in_their_place(share: float, width: str) -> None:
    assert re.findall(r"<div style=\"width:([\d.]+)%", card("", [], [Bar("", share, "", mark=2.0)])) == [
        width
    ]


def test_large_pictures_are_made_smaller_and_keep_their_form() -> None:
    assert pixels(png(np.zeros((1000, 500, 3), np.uint8))).shape == (384, 192, 3)
