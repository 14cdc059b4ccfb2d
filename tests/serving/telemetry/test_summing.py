from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.telemetry.summing import GAUGES, Exposed, counted, summed
from tests.serving.web.fakes import fake_service
from tests.test_deploy import exposition


def process(count: int, up: int, waiting: int, *, factor: float = 1.0) -> CollectorRegistry:
    registry = CollectorRegistry()
    exits = Counter("offramp_exits", "Images.", ("model", "exit"), registry=registry)
    exits.labels("m", "1").inc(count)
    Gauge("offramp_model_up", "Up.", ("model",), registry=registry).labels("m").set(up)
    Gauge("offramp_queue_rows", "Rows.", ("model",), registry=registry).labels("m").set(waiting)
    ratio = Gauge("offramp_budget_correction_ratio", "Factor.", ("model",), registry=registry)
    ratio.labels("m").set(factor)
    seconds = Histogram("offramp_request_seconds", "Seconds.", ("model",), buckets=(1, 2), registry=registry)
    for value in range(count):
        seconds.labels("m").observe(value)
    return registry


def values(*registries: CollectorRegistry) -> dict[str, float]:
    found = summed(registry.collect() for registry in registries)
    return {
        f"{sample.name}{sample.labels.get('le', '')}": sample.value
        for family in found
        for sample in family.samples
    }


def test_counters_and_histograms_are_summed_and_gauges_each_in_its_way() -> None:
    found = values(process(3, 1, 5, factor=0.9), process(1, 0, 2, factor=1.2))
    assert found["offramp_exits_total"] == 4
    assert found["offramp_model_up"] == 0  # not in every process
    assert found["offramp_queue_rows"] == 7
    assert found["offramp_budget_correction_ratio"] == 1.05
    assert [found[f"offramp_request_seconds_bucket{le}"] for le in ("1.0", "2.0", "+Inf")] == [3, 4, 4]
    assert found["offramp_request_seconds_count"] == 4
    assert found["offramp_request_seconds_sum"] == 3


def test_series_of_one_process_alone_stay() -> None:
    other = CollectorRegistry()
    Counter("offramp_exits", "Images.", ("model", "exit"), registry=other).labels("m", "2").inc(7)
    family = next(each for each in summed([process(1, 1, 0).collect(), other.collect()]))
    assert {
        sample.labels["exit"]: sample.value for sample in family.samples if sample.name.endswith("_total")
    } == {"1": 1, "2": 7}


def test_a_process_that_ended_leaves_its_counts_and_not_its_gauges() -> None:
    gone, rest = list(process(3, 1, 5).collect()), process(1, 1, 2)
    found = summed([counted(gone), rest.collect()])
    text = generate_latest(Exposed(found)).decode()
    assert 'offramp_exits_total{exit="1",model="m"} 4.0' in text
    assert 'offramp_queue_rows{model="m"} 2.0' in text


def test_every_gauge_of_the_server_says_how_it_is_combined() -> None:
    service, _ = fake_service()
    service.show()
    service.metrics.processes(lambda: 1)
    texts = exposition() + service.metrics.text().decode()
    lines = [line.split() for line in texts.splitlines() if line.startswith("# TYPE")]
    gauges = {name for _, _, name, kind in lines if kind == "gauge" and not name.endswith("_created")}
    assert gauges - GAUGES.keys() == set()
