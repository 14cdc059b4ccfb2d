"""Which parameters can be used, and which go together: every pair, and every number out of range."""

import math
from itertools import combinations

import pytest

from serving.errors import TermsError
from serving.options import ClassifyOptions, check
from serving.web.reading.query import PARAMETERS, read_options

GIVEN = {"budget": "50%", "max_drop": "0.02", "mode": "hard", "deadline_ms": "20", "model": "m"}
GIVEN |= {
    "explain": "1",
    "top_k": "3",
    "probabilities": "1",
    "on_error": "item",
    "priority": "low",
    "timings": "1",
    "version": "2",
}
CONTRADICTIONS = {("max_drop", "mode"), ("max_drop", "deadline_ms")}
CONTRADICTIONS |= {("mode", "explain"), ("deadline_ms", "explain")}


@pytest.mark.parametrize("pair", list(combinations(PARAMETERS, 2)), ids="+".join)
def test_every_pair_is_taken_or_refused_with_a_reason(pair: tuple[str, str]) -> None:
    query = {name: GIVEN[name] for name in pair}
    if pair in CONTRADICTIONS:
        with pytest.raises(TermsError, match=r"contradict each other: .+; give one of them"):
            read_options(query)
    else:
        read_options(query)


def test_what_is_read_is_what_was_given() -> None:
    assert read_options({}) == ClassifyOptions()
    assert read_options({"mode": "average"}) == ClassifyOptions()
    assert read_options({"budget": "50%", "mode": "hard", "deadline_ms": "20"}) == ClassifyOptions(
        "50%", "hard", 0.02
    )
    assert read_options({"max_drop": "1e-2", "model": "m"}) == ClassifyOptions(max_drop=0.01, model="m")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("mode", "soft", "mode=average or mode=hard, found 'soft'"),
        ("mode", "", "found ''"),
        ("deadline_ms", "0", "more than 0 ms"),
        ("deadline_ms", "-5", "found -5"),
        ("deadline_ms", "nan", "finite"),
        ("deadline_ms", "inf", "finite"),
        ("deadline_ms", "1e999", "finite"),
        ("deadline_ms", "soon", "a number, found 'soon'"),
        ("deadline_ms", "", "a number, found ''"),
        ("max_drop", "0", "between 0 and 1"),
        ("max_drop", "1", "between 0 and 1"),
        ("max_drop", "-0.1", "found -0.1"),
        ("max_drop", "nan", "between 0 and 1"),
        ("max_drop", "2%", "a number, found '2%'"),
        ("model", "", "name of a model, found an empty one"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, text: str, reason: str) -> None:
    with pytest.raises(TermsError, match=reason):
        read_options({name: text})


def test_a_model_answers_for_itself_alone() -> None:
    check(ClassifyOptions(model="digits"), "digits")
    check(ClassifyOptions(), "digits")
    with pytest.raises(TermsError, match="expected model=digits, which is the one asked, found 'cats'"):
        check(ClassifyOptions(model="cats"), "digits")


def test_callers_in_this_process_are_held_to_the_same() -> None:
    with pytest.raises(TermsError, match="deadline"):
        check(ClassifyOptions(deadline_seconds=math.nan))
    with pytest.raises(TermsError, match="mode"):
        check(ClassifyOptions(mode="fast"))  # type: ignore[arg-type]
