import pickle
from collections.abc import Iterator

import pytest

from serving.errors import OfframpError, OverloadedError


def kinds(kind: type[OfframpError] = OfframpError) -> Iterator[type[OfframpError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


@pytest.mark.parametrize("kind", [one for one in kinds() if one.__module__ == "serving.errors"])
def test_an_error_comes_whole_out_of_another_process(kind: type[OfframpError]) -> None:
    error = kind("full", 0.5) if issubclass(kind, OverloadedError) else kind("full")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(back), str(back), vars(back)) == (kind, "full", vars(error))
