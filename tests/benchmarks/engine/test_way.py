"""The files of an answer are counted on a real server."""

from pathlib import Path

from benchmarks.attack import nets
from benchmarks.engine.way import traced


def test_the_files_of_an_answer_come_in_the_order_of_its_way(tmp_path: Path) -> None:
    found = traced(nets.tiny(tmp_path / "models"), nets.png(), "50%25", tmp_path)
    order = found["in_order"]
    assert found["files"] == len(order) > 10
    assert found["calls"] > found["changes_of_calls"] > 0
    places = [order.index(name) for name in ("web/classify.py", "scheduler/scheduler.py", "engine/engine.py")]
    assert places == sorted(places)
