from benchmarks.speed.ratios import Spread
from benchmarks.speed.targets import TARGETS, Target, judged, missed

FAST = Target("fast", "ours / theirs", ">=", 1.7)
SHORT = Target("short", "wait", "<=", 1.0, "ms")


def test_the_median_decides() -> None:
    assert FAST.met(Spread(1.2, 1.7, 2.0, 5))
    assert not FAST.met(Spread(1.2, 1.69, 2.0, 5))
    assert SHORT.met(Spread(0.2, 1.0, 9.0, 5))
    assert not SHORT.met(Spread(0.2, 1.1, 9.0, 5))


def test_the_table_says_what_is_missed_and_what_is_not_known() -> None:
    rows = judged({"fast": Spread(1.5, 1.6, 1.8, 5)}, (FAST, SHORT))
    assert rows == [
        ["ours / theirs", "≥ 1.7", "1.5", "1.6", "1.8", "5", "**missed**"],
        ["wait", "≤ 1 ms", "", "", "", "", "not measured"],
    ]
    assert judged({"short": Spread(0.5, 0.6, 0.7, 3)}, (SHORT,))[0][-1] == "met"


def test_only_what_was_measured_can_be_missed() -> None:
    assert missed({"fast": Spread(1, 1, 1, 1)}, (FAST, SHORT)) == [FAST]
    assert missed({"fast": Spread(2, 2, 2, 1)}, (FAST, SHORT)) == []


def test_every_target_has_a_key_of_its_own() -> None:
    assert len({target.key for target in TARGETS}) == len(TARGETS)
