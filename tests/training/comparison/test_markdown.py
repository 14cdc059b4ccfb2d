from tests.training.comparison.test_summary import JOINT, outcome
from training.comparison.contenders import read_contender
from training.comparison.markdown import markdown
from training.comparison.poster import Table
from training.comparison.summary import MethodSummary, View

META_GF = read_contender("meta-gf")
TABLE = Table(
    source="A poster",
    number=1,
    architecture="MSDNet-7",
    exit_mflops=(1.0, 2.0),
    accuracy={"joint": (0.61, 0.63)},
    recipe={},
    recipe_source="its public code",
    train_images=45_000,
    test_images=10_000,
)


def view() -> View:
    joint = MethodSummary(JOINT, (outcome(0, (0.5, 0.7)), outcome(1, (0.6, 0.7))))
    broken = MethodSummary(META_GF, (outcome(0, None), outcome(1, None)))
    return View("epochs", "equal epochs: 2", (joint, broken))


def test_accuracies_stand_beside_the_posters() -> None:
    text = markdown(
        "python -m …", {"seeds": "0, 1"}, [view()], TABLE, [{"epochs 2 (poster: 300)": ["joint"]}]
    )

    assert "| exit | MFLOPs | joint | meta-gf |" in text
    assert "| 1 | 1.00 | 55.00 ± 7.07 (61.00) | failed |" in text
    assert "| mean |  | 62.50 ± 3.54 (62.00) | failed |" in text
    assert "**The setting is not the poster's**" in text
    assert "- epochs 2 (poster: 300): joint" in text


def test_without_a_poster_there_are_no_brackets() -> None:
    text = markdown("python -m …", {}, [view()], None, [{}])

    assert "| 2 | 2.00 | 70.00 ± 0.00 | failed |" in text
    assert "poster" not in text


def test_the_best_mean_is_set_in_bold() -> None:
    best = MethodSummary(META_GF, (outcome(0, (0.8, 0.6)),))
    (joint, _) = view().standings

    text = markdown("…", {}, [View("epochs", "equal epochs: 2", (joint, best))], None, [{}])

    assert "| 1 | 1.00 | 55.00 ± 7.07 | **80.00** |" in text
    assert "| 2 | 2.00 | **70.00** ± 0.00 | 60.00 |" in text


def test_runs_that_broke_are_told_of_and_timed_ones_counted() -> None:
    text = markdown("…", {}, [view()], None, [{}])

    assert "| joint | 2 of 2 | 2 | 1.00 ± 0.00 | 30.0 | 100 ± 0 |" in text
    assert "| meta-gf | 0 of 2 | 2 | – | – | – |" in text
    assert "the loss of exit 1 is nan" in text
