"""Answers are compared with the host's and with the first row's, image by image."""

from benchmarks.gpu.rows import Row, facts
from benchmarks.gpu.ways import Turn

RIGHT = [(3, 1), (5, 2), (7, 3), (7, 3)]
OTHER_EXIT = [(3, 1), (5, 3), (7, 3), (7, 3)]


def row(precision: str, features: str, answers: list[tuple[int, int]], *seconds: float) -> Row:
    turns = [Turn(each, each / 2, answers) for each in seconds]
    return Row(precision, features, "CPU", load_seconds=1.5, turns=turns)


def test_rounds_become_rates_and_ratios() -> None:
    rows = [row("float32", "host", RIGHT, 2.0, 4.0), row("float32", "device", RIGHT, 4.0, 5.0)]
    host, device = facts(rows, exits=4)
    assert host["images_per_second"] == [2.0, 1.0]
    assert host["processor_ms"] == [250.0, 500.0]
    assert host["exits"] == [1, 1, 2, 0]
    assert device["over_host"] == [0.5, 0.8]
    assert (device["as_host"], device["as_first"]) == (4, 4)
    assert "as_host" not in host


def test_answers_are_compared_with_the_same_precision_on_the_host_and_with_the_first_row() -> None:
    rows = [
        Row("float32", "host", "GPU", trouble="not here"),
        row("float32", "host", RIGHT, 1.0),
        row("float16", "host", OTHER_EXIT, 1.0),
        row("float16", "device", OTHER_EXIT, 1.0),
    ]
    missing, first, half, device = facts(rows, exits=3)
    assert missing == {"precision": "float32", "features": "host", "provider": "GPU", "trouble": "not here"}
    assert (first["as_first"], half["as_first"]) == (4, 3)
    assert (device["as_first"], device["as_host"]) == (3, 4)


def test_a_way_that_failed_under_way_has_no_figures() -> None:
    failed = row("float32", "host", RIGHT, 1.0)
    failed.trouble = "fails: no memory"
    (found, device) = facts([failed, row("float32", "device", RIGHT, 1.0)], exits=3)
    assert "images_per_second" not in found
    assert "over_host" not in device
    assert device["as_first"] == 4
