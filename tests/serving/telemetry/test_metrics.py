import pytest

from serving.events import (
    AgreementMeasured,
    BudgetCorrected,
    DriftMeasured,
    ExitShadowed,
    RequestDone,
    RequestFailed,
    RequestRefused,
    StageRan,
    TimeBudget,
    WorkerDied,
)
from serving.telemetry.metrics import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_stage_is_counted_from_1_with_the_wait_of_each_row() -> None:
    metrics = Metrics()
    metrics(StageRan("m", stage=1, rows=3, seconds=0.25, queue_seconds=(0.1, 0.2, 0.3)))
    labels = {"model": "m", "stage": "2"}
    assert value(metrics, "offramp_batch_rows_sum", **labels) == 3
    assert value(metrics, "offramp_stage_seconds_sum", **labels) == 0.25
    assert value(metrics, "offramp_queue_seconds_count", **labels) == 3


def test_budgets_in_time_are_counted_in_seconds_too() -> None:
    metrics = Metrics()
    metrics.timed("m", (0.002, 0.01))
    assert value(metrics, "offramp_exit_seconds", model="m", exit="2") == 0.01
    time = TimeBudget(seconds=0.005, exit_seconds=(0.002, 0.01))
    metrics(RequestDone("m", exits=(0, 1, 0), flops=(10, 90, 10), budget_flops=50.0, seconds=0.5, time=time))
    labels = {"model": "m", "kind": "average"}
    assert value(metrics, "offramp_spent_seconds_total", **labels) == pytest.approx(0.014)
    assert value(metrics, "offramp_asked_seconds_total", **labels) == pytest.approx(0.015)
    assert value(metrics, "offramp_spent_flops_total", **labels) == 110
    metrics.timed("m", ())
    assert value(metrics, "offramp_exit_seconds", model="m", exit="2") is None


def test_heads_that_did_not_run_count_by_exit() -> None:
    metrics = Metrics()
    metrics.loaded("m", exit_flops=(10, 50, 90), head_flops=(1, 2, 3))
    assert value(metrics, "offramp_skipped_head_flops_total", model="m", exit="2") == 0
    metrics(StageRan("m", stage=1, rows=3, seconds=0.1, queue_seconds=(0.1,) * 3, skipped_heads=(1,)))
    metrics(StageRan("m", stage=3, rows=2, seconds=0.1, queue_seconds=(0.1,) * 2, skipped_heads=(0, 1)))
    assert value(metrics, "offramp_skipped_head_flops_total", model="m", exit="1") == 2
    assert value(metrics, "offramp_skipped_head_flops_total", model="m", exit="2") == 10
    assert value(metrics, "offramp_skipped_head_flops_total", model="m", exit="3") is None
    assert value(metrics, "offramp_batch_rows_sum", model="m", stage="2") == 3
    assert value(metrics, "offramp_batch_rows_sum", model="m", stage="whole") == 2


def test_a_finished_request_counts_its_exits_and_flops_spent_and_asked() -> None:
    metrics = Metrics()
    metrics(RequestDone("m", exits=(0, 2, 0), flops=(10, 90, 10), budget_flops=50.0, seconds=0.5))
    assert value(metrics, "offramp_exits_total", model="m", exit="1") == 2
    assert value(metrics, "offramp_exits_total", model="m", exit="3") == 1
    assert value(metrics, "offramp_spent_flops_total", model="m", kind="average") == 110
    assert value(metrics, "offramp_asked_flops_total", model="m", kind="average") == 150
    assert value(metrics, "offramp_request_seconds_sum", model="m") == 0.5


def test_failures_and_refusals_count_by_kind() -> None:
    metrics = Metrics()
    metrics(RequestFailed("m", "EngineError", rows=4))
    metrics(RequestRefused("BudgetError"))
    assert value(metrics, "offramp_errors_total", error="EngineError") == 1
    assert value(metrics, "offramp_errors_total", error="BudgetError") == 1
    assert value(metrics, "offramp_failed_images_total", model="m") == 4


def test_a_model_is_up_until_its_worker_dies() -> None:
    metrics = Metrics()
    metrics.loaded("m", exit_flops=(10, 90))
    assert value(metrics, "offramp_model_up", model="m") == 1
    assert value(metrics, "offramp_exits_total", model="m", exit="2") == 0
    metrics(WorkerDied("m", "MemoryError"))
    assert value(metrics, "offramp_model_up", model="m") == 0


def test_what_a_model_runs_on_is_told() -> None:
    metrics = Metrics()
    metrics.runs_on(
        "m", ("CUDAExecutionProvider", "CPUExecutionProvider"), "device", "onnxruntime", "float32"
    )
    labels = {"model": "m", "provider": "CUDAExecutionProvider", "features": "device"}
    labels |= {"runtime": "onnxruntime", "precision": "float32"}
    assert value(metrics, "offramp_model_info", **labels) == 1


def test_versions_are_told() -> None:
    metrics = Metrics()
    metrics.built("1.2", "3.11.7")
    assert value(metrics, "offramp_build_info", version="1.2", python="3.11.7") == 1


def test_a_value_of_each_model_is_looked_up_when_asked_for() -> None:
    metrics, waiting = Metrics(), {"m": 1.0}
    metrics.watch_models("offramp_queue_rows", "Images.", lambda: waiting)
    waiting["m"] = 5.0
    waiting["n"] = 0.0
    assert [value(metrics, "offramp_queue_rows", model=name) for name in "mn"] == [5.0, 0.0]


def test_two_servers_never_share_numbers() -> None:
    one, two = Metrics(), Metrics()
    one.answered("/classify", 200, 0.1)
    assert value(one, "offramp_http_requests_total", route="/classify", status="200") == 1
    assert value(two, "offramp_http_requests_total", route="/classify", status="200") is None
    assert b"offramp_http_requests_total" in one.text()


def test_flops_are_saved_against_the_full_depth_and_counted_by_promise() -> None:
    metrics = Metrics()
    metrics.loaded("m", exit_flops=(10, 90))
    metrics(RequestDone("m", exits=(0, 1), flops=(10, 90), budget_flops=50.0, seconds=0.5, kind="hard"))
    assert value(metrics, "offramp_saved_flops_total", model="m") == 80
    assert value(metrics, "offramp_spent_flops_total", model="m", kind="hard") == 100
    assert value(metrics, "offramp_spent_flops_total", model="m", kind="average") == 0


def test_promises_are_told_by_class_and_by_exit_from_1() -> None:
    metrics = Metrics()
    metrics.loaded("m", exit_flops=(10, 50, 90))
    labels = {"model": "m", "exit": "2"}
    assert value(metrics, "offramp_watched_images_total", **labels) == 0
    assert value(metrics, "offramp_watched_images_total", model="m", exit="3") is None
    assert value(metrics, "offramp_drift_alarm", **labels) == 0
    metrics(BudgetCorrected("m", "24.1%", factor=0.9, error=0.02))
    metrics(ExitShadowed("m", 1, agreed=True, extra_flops=90))
    metrics(ExitShadowed("m", 1, agreed=False, extra_flops=90))
    metrics(AgreementMeasured("m", 1, share=0.5, expected=0.9, alarm=True, changed=True, images=100))
    metrics(DriftMeasured("m", 1, score=0.3, limit=0.13, alarm=True, changed=True, of="scores", rows=9))
    by_class = {"model": "m", "budget_class": "24.1%"}
    assert value(metrics, "offramp_budget_correction_ratio", **by_class) == 0.9
    assert value(metrics, "offramp_budget_error_ratio", **by_class) == 0.02
    assert value(metrics, "offramp_watched_images_total", **labels) == 2
    assert value(metrics, "offramp_agreed_images_total", **labels) == 1
    assert value(metrics, "offramp_agreement_expected_ratio", **labels) == 0.9
    assert value(metrics, "offramp_agreement_alarm", **labels) == 1
    assert value(metrics, "offramp_watch_flops_total", model="m") == 180
    assert value(metrics, "offramp_drift_score_ratio", **labels) == 0.3
    assert value(metrics, "offramp_drift_limit_ratio", **labels) == 0.13
    assert value(metrics, "offramp_drift_alarm", **labels) == 1
