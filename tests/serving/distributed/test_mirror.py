from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.distributed.mirror import Mirror


class Noted:
    """A metric of Ray that notes what it is told."""

    def __init__(self, kind: str, name: str, description: str, tags: tuple[str, ...]) -> None:
        self.kind, self.name, self.tags = kind, name, tags
        self.told: list[tuple[float, Mapping[str, str]]] = []

    def inc(self, value: float, tags: Mapping[str, str]) -> None:
        assert self.kind == "counter"
        self.told.append((value, dict(tags)))

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        assert self.kind == "gauge"
        self.told.append((value, dict(tags)))


def test_counters_are_copied_by_what_they_gained_and_gauges_as_they_are() -> None:
    registry, made = CollectorRegistry(), dict[str, Noted]()

    def make(kind: str, name: str, description: str, tags: tuple[str, ...]) -> Noted:
        return made.setdefault(name, Noted(kind, name, description, tags))

    exits = Counter("offramp_exits", "Images.", ("model", "exit"), registry=registry)
    waiting = Gauge("offramp_queue_rows", "Images.", ("model",), registry=registry)
    Histogram("offramp_seconds", "Seconds.", registry=registry).observe(1)
    mirror = Mirror(registry, make)
    exits.labels("pets", "1").inc(3)
    waiting.labels("pets").set(7)
    mirror.copy()
    exits.labels("pets", "1").inc(2)
    waiting.labels("pets").set(0)
    mirror.copy()
    mirror.copy()
    assert made.keys() == {"offramp_exits_total", "offramp_queue_rows"}
    labels = {"model": "pets", "exit": "1"}
    assert made["offramp_exits_total"].told == [(3, labels), (2, labels)]
    assert made["offramp_exits_total"].tags == ("exit", "model")
    assert [value for value, _ in made["offramp_queue_rows"].told] == [7, 0, 0]
