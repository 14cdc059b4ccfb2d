from types import SimpleNamespace
from typing import cast

import structlog
from structlog.testing import capture_logs

from serving.events import RequestFailed
from serving.telemetry.log_writer import LogWriter
from serving.telemetry.observers import Observers


def test_an_event_is_counted_remembered_and_logged() -> None:
    with capture_logs() as logged:
        observers = Observers.of(structlog.get_logger(), started=0.0)
        observers.emit(RequestFailed("m", "EngineError", rows=4))
    assert [line["event"] for line in logged] == ["request_not_answered"]
    errors = observers.metrics.registry.get_sample_value("offramp_errors_total", {"error": "EngineError"})
    assert errors == 1
    assert observers.live.started == 0.0


def test_dropped_lines_of_the_log_are_counted_where_there_is_a_writer() -> None:
    writer = cast(LogWriter, SimpleNamespace(dropped=3))
    one, other = Observers.of(structlog.get_logger(), writer), Observers.of(structlog.get_logger())
    assert one.metrics.registry.get_sample_value("offramp_log_lines_dropped_total") == 3
    assert other.metrics.registry.get_sample_value("offramp_log_lines_dropped_total") is None
