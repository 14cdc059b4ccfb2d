"""A new bundle's card, and a picture of the test images that leave at each exit."""

from pathlib import Path

from training.adopting.drafting import Done
from training.calibration.collect import Labels, Probabilities
from training.data.images import decode
from training.evaluation.config import EvaluateConfig, GalleryConfig
from training.evaluation.exit_gallery import draw, sort_out
from training.evaluation.measure import evaluation_of
from training.evaluation.model_card import card_budgets, write_card

DRAWN_FROM = 500
"""Test images that the picture's are drawn from, at most: these are decoded once more."""


def present(done: Done, answers: tuple[Probabilities, Labels] | None) -> list[Path]:
    """Write `README.md`, `evaluation.json` and `gallery.png` into the bundle's folder.

    Args:
        done: the bundle and its test images.
        answers: probabilities [N, K, C] and labels [N] of these; None without any: nothing is written.

    Returns:
        The card and the picture.
    """
    if answers is None or done.test is None:
        return []
    bundle, data_set = done.written.bundle, done.test.data_set
    settings = EvaluateConfig(budgets=card_budgets(bundle))
    card = write_card(bundle, evaluation_of(bundle, data_set, answers, settings))
    probabilities, labels = answers[0][:DRAWN_FROM], answers[1][:DRAWN_FROM]
    pixels = decode(done.test.part, done.test.rows[:DRAWN_FROM], bundle.manifest.preprocessing)
    config = GalleryConfig()
    picture = bundle.folder / "gallery.png"
    title = f"{bundle.name}: test images of {data_set} by the exit they leave at, budget {config.budget}"
    draw(picture, title, sort_out(bundle, pixels, probabilities, labels, config), config.columns)
    return [card, picture]
