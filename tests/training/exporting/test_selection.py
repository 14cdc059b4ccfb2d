"""The choice of measure and policy: what wins by more than chance, on images that nothing was fitted on."""

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from training.evaluation.candidates import DEFAULT_CANDIDATE
from training.exporting.selection import LEAST_IMAGES, Selection, select, show

FLOPS = (10, 20, 40)


def answers(images: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Three exits of ten classes; between two likely classes the margin says more than the largest chance.

    Half of the images spread what is left over many classes: their largest probability is low, whether they
    are right or not.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, images)
    probabilities = np.empty((images, 3, 10), np.float32)
    for exit_index in range(3):
        lead = random.random(images) ** (1 / (1 + exit_index))
        spread = random.random(images) < 0.5
        right = random.random(images) < 0.5 + 0.5 * lead
        first = np.where(right, labels, (labels + 1) % 10)
        second = np.where(right, (labels + 1) % 10, labels)
        base = np.where(spread, 0.07, 0.001)[:, None] * np.ones(10)
        rest = 1 - 8 * base[:, 0]
        base[np.arange(images), first] = rest * (1 + lead) / 2
        base[np.arange(images), second] = rest * (1 - lead) / 2
        probabilities[:, exit_index] = base
    return probabilities, labels


@pytest.fixture(scope="module")
def selection() -> Selection:
    return select(*answers(2_000), FLOPS)


def test_the_measure_that_tells_right_from_wrong_is_chosen(selection: Selection) -> None:
    assert selection.chosen.measure.removesuffix("+temperature") == "margin"
    first, *others = selection.rounds
    assert (first.candidate, first.gain) == (DEFAULT_CANDIDATE, 0)
    assert len(others) == 5 + 3  # measures, then policies
    by_name = {str(outcome.candidate): outcome for outcome in others}
    assert by_name["margin, geometric"].gain > 2 * by_name["margin, geometric"].standard_error
    assert selection.images == 2_000


def test_it_is_the_same_every_time() -> None:
    assert select(*answers(200), FLOPS) == select(*answers(200), FLOPS)


def test_where_nothing_tells_right_from_wrong_the_default_stays() -> None:
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.ones(10), (400, 3)).astype(np.float32)
    assert select(probabilities, random.integers(0, 10, 400), FLOPS).chosen == DEFAULT_CANDIDATE


@pytest.mark.parametrize(("images", "flops"), [(LEAST_IMAGES - 1, FLOPS), (200, (10,))])
def test_nothing_is_compared_on_few_images_or_one_exit(
    images: int, flops: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    probabilities, labels = answers(images)
    selection = select(probabilities[:, : len(flops)], labels, flops)
    assert (selection.chosen, selection.rounds) == (DEFAULT_CANDIDATE, ())
    show(selection, Console(width=200))
    assert "too few validation images" in capsys.readouterr().out


def test_what_was_compared_is_printed(selection: Selection, capsys: pytest.CaptureFixture[str]) -> None:
    show(selection, Console(width=200))
    printed = capsys.readouterr().out
    assert all(str(outcome.candidate) in printed for outcome in selection.rounds)
    assert f"chosen on validation images: {selection.chosen}" in printed


def test_luck_seldom_decides() -> None:
    """Images of which no measure can tell right from wrong: a challenger wins by chance alone."""
    lucky = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        probabilities = random.dirichlet(np.ones(10), (400, 3)).astype(np.float32)
        lucky += select(probabilities, random.integers(0, 10, 400), FLOPS).chosen != DEFAULT_CANDIDATE
    assert lucky <= 2
