import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.seeds import generator


def test_the_stream_of_a_purpose_never_changes() -> None:
    assert generator(3, "order", 1, "joint").integers(0, 100, 5).tolist() == [6, 79, 14, 57, 28]


@given(st.tuples(st.integers(0, 5), st.text(max_size=3)), st.tuples(st.integers(0, 5), st.text(max_size=3)))
def test_streams_are_equal_only_for_equal_purposes(one: tuple[int, str], two: tuple[int, str]) -> None:
    first, second = (generator(0, *purpose).integers(0, 2**62, 4) for purpose in (one, two))
    assert np.array_equal(first, second) == (one == two)
