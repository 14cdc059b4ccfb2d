from serving.events import DriftMeasured, Event, RequestDone, WorkerDied
from serving.telemetry.metrics import Metrics
from serving.telemetry.version_listener import VersionListener

DONE = RequestDone("pets", (3,), (500,), budget_flops=500.0, seconds=0.1, full_flops=500)
DRIFT = DriftMeasured("pets", 0, score=0.9, limit=0.2, alarm=True, changed=True, of="scores", rows=9)


def test_counts_are_summed_and_states_are_the_current_versions() -> None:
    metrics, heard = Metrics(), list[Event]()
    metrics.loaded("pets", (10, 90), (1, 2))
    current = [False]
    listener = VersionListener(metrics, heard.append, lambda: current[0])
    for event in (DONE, DRIFT, WorkerDied("pets", "of a canary")):
        listener(event)
    text = metrics.text().decode()
    assert 'offramp_exits_total{exit="4",model="pets"} 1.0' in text  # it has more exits than the current one
    assert 'offramp_saved_flops_total{model="pets"} 0.0' in text
    assert 'offramp_drift_alarm{exit="1",model="pets"} 0.0' in text
    assert 'offramp_model_up{model="pets"} 1.0' in text
    current[0] = True
    listener(DRIFT)
    assert 'offramp_drift_alarm{exit="1",model="pets"} 1.0' in metrics.text().decode()
    assert len(heard) == 4
