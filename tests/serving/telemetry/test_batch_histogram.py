import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from serving.telemetry.batch_histogram import BatchHistogram

BOUNDS = (0.0005, 0.01, 1.0, 10.0)


def lines(registry: CollectorRegistry) -> list[str]:
    return [
        line for line in generate_latest(registry).decode().splitlines() if "_created" not in line and line
    ]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.0005, 0.0006, 0.25, 1.0, 9.5, 10.0, 11.0]))))
def test_it_shows_what_the_librarys_own_would_show(batches: list[list[float]]) -> None:
    registry, other = CollectorRegistry(), CollectorRegistry()
    ours = BatchHistogram("waited", "How long.", ("model", "stage"), buckets=BOUNDS, registry=registry)
    theirs = Histogram("waited", "How long.", ("model", "stage"), buckets=BOUNDS, registry=other)
    for batch in batches:
        ours.observe(("tiny", "1"), batch)
        child = theirs.labels("tiny", "1")
        for seconds in batch:
            child.observe(seconds)
    for mine, expected in zip(lines(registry), lines(other), strict=True):
        name, _, value = mine.rpartition(" ")
        expected_name, _, expected_value = expected.rpartition(" ")
        assert name == expected_name
        if name.startswith("waited"):
            assert float(value) == pytest.approx(float(expected_value))


def test_a_name_is_registered_once() -> None:
    registry = CollectorRegistry()
    BatchHistogram("waited", "How long.", ("model",), buckets=BOUNDS, registry=registry)
    with pytest.raises(ValueError, match="waited"):
        BatchHistogram("waited", "How long.", ("model",), buckets=BOUNDS, registry=registry)
