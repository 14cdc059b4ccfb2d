"""The networks of an earlier run are taken again while the code that makes them is the same."""

from benchmarks.photo.networks import SIDE, SPEC, sources
from training.data.opening import preprocessing


def test_all_of_the_code_that_makes_the_networks_counts() -> None:
    names = {path.name for path in sources()}
    assert {"making.py", "poster_bundle.py", "graph.py", "int8.py", "flops.py", "exit_head.py"} <= names
    assert all(path.exists() for path in sources())


def test_pictures_are_prepared_as_training_would() -> None:
    assert preprocessing(SIDE) == SPEC
