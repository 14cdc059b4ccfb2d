import numpy as np

from training.advising.frontier import Kind, Measured, best_within, frontier, gain, single, verdicts


def point(
    title: str, spent: float, right: float, kind: Kind = "network", *, images: int = 1000, ms: float = 1.0
) -> Measured:
    answers = np.arange(images) < round(right * images)
    shares = (1.0,) if kind == "network" else (0.5, 0.5)
    return Measured(title, title, kind, "float32", None, spent, ms, 2 * ms, 100.0, shares, answers)


def cost(measured: Measured) -> float:
    return measured.spent_flops


SMALL, LARGE = point("small", 40, 0.80), point("large", 100, 0.90)


def test_the_frontier_holds_what_nothing_beats_at_its_cost() -> None:
    early = [point("c", spent, right, "cascade") for spent, right in ((45, 0.79), (60, 0.88), (120, 0.90))]
    found = frontier([LARGE, *early, SMALL], cost)
    assert found == [SMALL, early[1], LARGE]


def test_of_equal_costs_the_better_stays() -> None:
    better = point("better", 40, 0.85)
    assert frontier([SMALL, better], cost) == [better]


def test_the_best_within_a_cost_is_the_cheapest_of_equals() -> None:
    dear = point("dear", 120, 0.90)
    assert best_within([dear, LARGE, SMALL], cost, 200) is LARGE
    assert best_within([dear, LARGE, SMALL], cost, 50) is SMALL
    assert best_within([dear, LARGE, SMALL], cost, 10) is None


def test_a_difference_has_the_error_of_paired_answers() -> None:
    found = gain(LARGE, SMALL)  # 100 of 1,000 images apart, all one way
    assert found.mean == 0.1
    np.testing.assert_allclose(found.error, np.sqrt(0.1 * 0.9 / 1000))
    assert found.better
    assert gain(SMALL, LARGE).worse
    same = gain(SMALL, SMALL)
    assert not same.better
    assert not same.worse


def test_verdicts_compare_with_the_best_single_network_of_the_same_cost() -> None:
    early = [
        point("c", spent, right, "cascade")
        for spent, right in ((20, 0.5), (60, 0.7), (80, 0.85), (101, 0.901))
    ]
    found = verdicts(early, single([SMALL, LARGE, *early]), cost)
    assert [verdict.rival for verdict in found] == [None, SMALL, SMALL, LARGE]
    assert found[0].gain is None
    gains = [verdict.gain for verdict in found[1:]]
    assert [each.worse for each in gains if each] == [True, False, False]
    assert [each.better for each in gains if each] == [False, True, False]


def test_a_budget_is_kept_on_average() -> None:
    late = point("c", 99, 0.9, "cascade")  # 1% less than the large network
    assert verdicts([late], [LARGE], cost)[0].rival is LARGE
