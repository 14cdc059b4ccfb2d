"""Turns on cores: never too many at once, fair by what was used, and nobody waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from serving.scheduler.fair_turns import FairTurns, Place

TURN = 1.0
CORES = 4

seconds = st.floats(0.001, 3.0)


def granted(turns: FairTurns, now: float, *places: Place) -> list[Place]:
    for place in places:
        turns.ask(place, now)
    return turns.grant(now)


def test_places_go_round_in_the_order_in_which_they_came() -> None:
    turns, places = FairTurns(1, TURN), [Place(1) for _ in range(3)]
    order = granted(turns, 0.0, *places)
    for step in range(1, 9):
        turns.give_back(order[-1], step / 2)
        order += granted(turns, step / 2, order[-1])
    assert order == places * 3


def test_who_has_used_little_goes_before_who_has_used_much() -> None:
    turns, heavy, light, first = FairTurns(1, TURN), Place(1), Place(1), Place(1)
    assert granted(turns, 0.0, first, heavy, light) == [first]
    turns.give_back(first, 0.1)
    assert turns.grant(0.1) == [heavy]
    turns.give_back(heavy, 0.9)
    assert granted(turns, 0.9, heavy, first) == [light]
    turns.give_back(light, 1.2)
    assert granted(turns, 1.2, light) == [first]
    turns.give_back(first, 1.3)
    assert turns.grant(1.3) == [light]


def test_time_without_work_is_not_saved_up() -> None:
    turns, busy, late = FairTurns(1, TURN), Place(1), Place(1)
    for step in range(10):
        assert granted(turns, step, busy) == [busy]
        turns.give_back(busy, step + 0.5)
    order = granted(turns, 10.0, busy, late)
    for step in range(4):
        turns.give_back(order[-1], 10.5 + step / 2)
        order += granted(turns, 10.5 + step / 2, order[-1])
    assert order == [busy, late, busy, late, busy] or order == [late, busy, late, busy, late]


def test_narrow_turns_run_side_by_side_and_a_wide_one_is_not_passed() -> None:
    turns, wide = FairTurns(CORES, TURN), Place(CORES)
    narrow = [Place(1) for _ in range(3)]
    assert granted(turns, 0.0, *narrow[:2], wide, narrow[2]) == narrow[:2]
    turns.give_back(narrow[0], 0.2)
    assert turns.grant(0.2) == []
    turns.give_back(narrow[1], 0.3)
    assert turns.grant(0.3) == [wide]
    turns.give_back(wide, 0.4)
    assert turns.grant(0.4) == [narrow[2]]


def test_a_turn_that_takes_too_long_goes_on_beside_the_next() -> None:
    turns, hangs, waits = FairTurns(CORES, TURN), Place(CORES), Place(CORES)
    assert granted(turns, 0.0, hangs, waits) == [hangs]
    assert turns.grant(0.99) == []
    assert turns.grant(1.0) == [waits]
    assert hangs.computes
    assert not hangs.counts
    turns.give_back(hangs, 1.5)  # which makes no cores free: they are the other's
    assert granted(turns, 1.5, hangs) == []
    turns.give_back(waits, 1.6)
    assert turns.grant(1.6) == [hangs]


def test_who_has_used_less_than_its_share_waits_for_nobody() -> None:
    turns, busy, equal, light = FairTurns(1, TURN), Place(1), Place(1), Place(1)
    assert granted(turns, 0.0, busy, equal) == [busy]
    turns.give_back(busy, 0.5)
    assert granted(turns, 0.5, busy) == [equal]
    turns.give_back(equal, 1.0)
    assert granted(turns, 1.0, equal) == [busy]
    assert granted(turns, 1.1, light) == [light]
    assert not light.counts  # it keeps no cores from those that wait, and makes none free for them
    turns.give_back(light, 1.2)
    assert turns.grant(1.2) == []
    turns.give_back(busy, 1.5)
    assert turns.grant(1.5) == [equal]
    assert granted(turns, 1.55, light, busy) == []  # it has used more than the one that computes
    turns.give_back(light, 1.55)  # no longer waits
    assert granted(turns, 1.7, light) == [light]


def test_who_leaves_while_it_waits_is_forgotten() -> None:
    turns, first, gone, last = FairTurns(1, TURN), Place(1), Place(1), Place(1)
    assert granted(turns, 0.0, first, gone, last) == [first]
    turns.give_back(gone, 0.1)
    turns.give_back(gone, 0.1)
    turns.give_back(first, 0.2)
    assert turns.grant(0.2) == [last]


@given(st.lists(st.integers(1, CORES), min_size=1, max_size=6), st.lists(seconds, min_size=1, max_size=40))
def test_nobody_is_passed_for_long_and_no_core_is_given_twice(
    widths: list[int], lengths: list[float]
) -> None:
    """All want the cores all the time, and some turns take too long.

    While one waits, another begins turns from the virtual time at which it asked up to its own start, at most
    a turn later, and the last of them may be a whole one.
    """
    turns, places = FairTurns(CORES, TURN), [Place(width) for width in widths]
    ends: dict[Place, float] = {}
    passed = {place: dict.fromkeys(places, 0.0) for place in places}  # what others began while it waited
    current = granted(turns, 0.0, *places)
    now = 0.0
    for length in lengths * 3:
        for place in current:
            ends[place] = now + length
            for waiting in places:
                if not waiting.computes:
                    passed[waiting][place] += place.cores * min(length, TURN)
        assert sum(place.cores for place in places if place.counts) <= CORES
        place, now = min(ends.items(), key=lambda item: item[1])
        del ends[place]
        turns.give_back(place, now)
        passed[place] = dict.fromkeys(places, 0.0)
        current = granted(turns, now, place)
        assert max(max(others.values()) for others in passed.values()) <= 2 * CORES * TURN + 1e-9
    assert turns.grant(now + 2 * TURN) or all(place.computes for place in places)


@given(st.integers(2, 5), st.lists(seconds, min_size=1, max_size=40))
def test_places_that_always_want_the_cores_use_them_alike(count: int, lengths: list[float]) -> None:
    """What two have used differs by two turns at most, as the paper's theorem 1 has it."""
    turns, places = FairTurns(1, TURN), [Place(1) for _ in range(count)]
    used, now = dict.fromkeys(places, 0.0), 0.0
    current = granted(turns, now, *places)
    for length in lengths * 3:
        (place,) = current
        now += min(length, TURN)
        used[place] += min(length, TURN)
        turns.give_back(place, now)
        current = granted(turns, now, place)
        assert max(used.values()) - min(used.values()) <= 2 * TURN + 1e-9
