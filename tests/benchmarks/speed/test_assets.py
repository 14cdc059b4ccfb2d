"""The nets of an earlier run are taken again while the code that makes them is the same."""

from benchmarks.speed.assets import sources


def test_all_of_the_code_that_makes_the_nets_counts() -> None:
    names = {path.name for path in sources()}
    assert {"poster_bundle.py", "graph.py", "int8.py", "int8_layout.py", "flops.py", "msdnet.py"} <= names
    assert all(path.read_bytes() or path.name == "__init__.py" for path in sources())
