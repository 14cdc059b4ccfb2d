import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import BudgetError
from serving.policy.budget import (
    UNITS,
    affordable,
    check_budget,
    flops_of,
    format_flops,
    is_time,
    parse_budget,
    parse_seconds,
)

EXITS = (10_000_000, 40_000_000, 200_000_000)


@pytest.mark.parametrize(
    ("text", "flops"),
    [
        ("150MFLOPs", 150e6),
        ("0.15GFLOPs", 150e6),
        ("1.5e8", 150e6),
        ("150000kflops", 150e6),
        (" 150 mFlOpS ", 150e6),
        ("+.00015TFLOPS", 150e6),
        ("15000000.FLOPs", 15e6),
        ("1.5E8FLOPs", 150e6),
        ("50%", 100e6),
        ("5 %", 10e6),
        ("10000000", 10e6),
        ("100%", 200e6),
        ("150%", 200e6),
        ("9TFLOPs", 200e6),
    ],
)
def test_every_written_form(text: str, flops: float) -> None:
    assert parse_budget(text, EXITS) == pytest.approx(flops)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "expected a number of FLOPs"),
        ("MFLOPs", "expected a number of FLOPs"),
        ("150,0MFLOPs", "expected a number of FLOPs"),
        ("1e8 1e8", "expected a number of FLOPs"),
        ("\u0663\u0663MFLOPs", "expected a number of FLOPs"),
        ("1_000_000_000", "expected a number of FLOPs"),
        ("150MB", "unknown unit"),
        ("150M", "unknown unit"),
        ("-150MFLOPs", "positive, finite"),
        ("0", "positive, finite"),
        ("0%", "positive, finite"),
        ("nan", "positive, finite"),
        ("-inf", "positive, finite"),
        ("infinity", "positive, finite"),
        ("1e999", "positive, finite"),
        ("9.9MFLOPs", "exit 1 costs 10000000 FLOPs"),
        ("4%", "exit 1 costs 10000000 FLOPs"),
    ],
)
def test_every_refusal_says_why(text: str, names: str) -> None:
    with pytest.raises(BudgetError, match=names):
        parse_budget(text, EXITS)


def test_a_long_budget_is_not_echoed_whole() -> None:
    with pytest.raises(BudgetError) as caught:
        parse_budget("x" * 10_000, EXITS)
    assert len(str(caught.value)) < 300


def test_not_a_number_is_not_affordable() -> None:
    with pytest.raises(BudgetError):
        affordable(math.nan, EXITS)


@given(st.text(max_size=40) | st.from_regex(r"\A[0-9.e+-]{1,12} ?[kMGT]?(FLOPs|%)?\Z"))
def test_any_text_is_a_budget_or_a_budget_error(text: str) -> None:
    try:
        budget_flops = parse_budget(text, EXITS)
    except BudgetError:
        return
    assert EXITS[0] <= budget_flops <= EXITS[-1]


@given(st.floats(EXITS[0], EXITS[-1]), st.sampled_from(sorted(UNITS)))
def test_units_are_only_a_scale(flops: float, unit: str) -> None:
    written = f"{flops * (1 + 1e-9) / UNITS[unit]!r}{unit}"
    assert parse_budget(written, EXITS) == pytest.approx(flops)


@given(st.floats(EXITS[0], EXITS[-1]))
def test_a_plain_number_survives_the_round_trip(flops: float) -> None:
    assert parse_budget(repr(flops), EXITS) == flops


@pytest.mark.parametrize(
    ("flops", "text"),
    [
        (999, "999 FLOPs"),
        (1000, "1.0 kFLOPs"),
        (6_857_000, "6.9 MFLOPs"),
        (2.5e9, "2.5 GFLOPs"),
        (3e12, "3.0 TFLOPs"),
    ],
)
def test_formatted(flops: float, text: str) -> None:
    assert format_flops(flops) == text


@given(
    st.integers(1, 100_000),
    st.sampled_from(["1", ".", "e", " ", "%", "n", "-"]),
    st.sampled_from(["", "!", "%"]),
)
def test_texts_of_any_length_are_read_or_refused(length: int, character: str, end: str) -> None:
    """Reading takes time in proportion to the text: 100,000 characters would take hours otherwise."""
    with contextlib.suppress(BudgetError):
        assert 0 < parse_budget(length * character + end, EXITS) <= EXITS[-1]


@pytest.mark.parametrize(
    ("text", "seconds"), [("8ms", 0.008), ("500 us", 0.0005), ("0.002S", 0.002), ("1s", 0.01)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert is_time(text)
    assert parse_seconds(text, (0.0005, 0.01)) == pytest.approx(seconds)


def test_a_time_without_measured_stages_is_refused_by_name() -> None:
    expected = "'8ms' is a time, and no stage was timed here: give FLOPs"
    with pytest.raises(BudgetError, match=expected):
        parse_budget("8ms", (10, 20))
    with pytest.raises(BudgetError, match=expected):
        parse_seconds("8ms", ())


def test_the_flops_of_a_time_lie_between_those_of_the_exits() -> None:
    assert flops_of("3ms", (100, 200, 500), (0.001, 0.002, 0.004)) == pytest.approx(350)
    assert flops_of("50%", (100, 200, 500), ()) == 250
    check_budget("3ms", (100, 500), (0.001, 0.004))
    with pytest.raises(BudgetError, match="expected a time such as 8ms"):
        parse_seconds("50%", (0.001, 0.004))
