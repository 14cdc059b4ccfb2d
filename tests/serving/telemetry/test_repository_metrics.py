from serving.events import (
    AccuracyMeasured,
    BudgetsLowered,
    CurrentVersion,
    DriftMeasured,
    ModelLoaded,
    ModelRefused,
    ModelUnloaded,
)
from serving.telemetry.metrics import Metrics


def test_a_replacement_moves_the_memory_and_a_last_unload_takes_the_states_away() -> None:
    metrics = Metrics()
    current = CurrentVersion(
        "pets", "1", (10, 90), (1, 2), ("CPUExecutionProvider",), "host", "onnxruntime", "int8"
    )
    for event in (
        ModelLoaded("pets", "1", 1.5, 100),
        current,
        ModelRefused("pets", "2", "no segments"),
        ModelLoaded("pets", "3", 2.5, 70),
        ModelUnloaded("pets", "1", 100, last=False),
    ):
        metrics(event)
    text = metrics.text().decode()
    for line in (
        'offramp_model_changes_total{model="pets",result="loaded"} 2.0',
        'offramp_model_changes_total{model="pets",result="refused"} 1.0',
        'offramp_model_changes_total{model="pets",result="unloaded"} 1.0',
        'offramp_model_memory_bytes{model="pets"} 70.0',
        'offramp_model_load_seconds{model="pets"} 2.5',
        'offramp_model_up{model="pets"} 1.0',
    ):
        assert line in text
    metrics(ModelUnloaded("pets", "3", 70, last=True))
    text = metrics.text().decode()
    assert 'offramp_model_up{model="pets"}' not in text
    assert 'offramp_model_memory_bytes{model="pets"}' not in text
    assert 'offramp_exits_total{exit="1",model="pets"} 0.0' in text


def test_no_state_of_a_model_that_is_gone_is_shown() -> None:
    metrics = Metrics()
    metrics.loaded("pets", (10, 90))
    metrics(AccuracyMeasured("pets", alarm=True, changed=True, bound=0.1))
    metrics(BudgetsLowered("pets", "low", 0.5))
    metrics(DriftMeasured("pets", 0, score=0.3, limit=0.1, alarm=True, changed=True, of="scores", rows=9))
    metrics(ModelUnloaded("pets", "1", 100, last=True))
    families = [family for family in metrics.registry.collect() if family.type == "gauge"]
    shown = {family.name for family in families for sample in family.samples if "model" in sample.labels}
    assert shown == set()
