import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest

from serving.events import (
    AgreementMeasured,
    DecodeThreadsChanged,
    DriftMeasured,
    RequestFailed,
    RequestRefused,
    WorkerDied,
)
from serving.telemetry.logs import EventLog, configure, get_logger


@pytest.fixture
def stream() -> Iterator[StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield StringIO()
    root.handlers[:] = before[0]
    root.setLevel(before[1])


def test_our_lines_and_other_libraries_have_one_format(stream: StringIO) -> None:
    configure("json", "info", stream)
    get_logger().info("loaded", bundle="tiny")
    get_logger().debug("unseen")
    logging.getLogger("uvicorn.error").warning("port %d", 80)
    ours, theirs = map(json.loads, stream.getvalue().splitlines())
    assert (ours["event"], ours["bundle"], ours["level"], ours["logger"]) == (
        "loaded",
        "tiny",
        "info",
        "offramp",
    )
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("port 80", "warning", "uvicorn.error")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variables(log_format: str, stream: StringIO) -> None:
    configure(log_format, "info", stream)

    def fail() -> None:
        password = "hunter" + "2"
        raise ValueError(len(password))

    try:
        fail()
    except ValueError:
        get_logger().exception("failed")
    assert "ValueError: 7" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_deaths_and_failures_are_logged_and_refusals_are_not(stream: StringIO) -> None:
    configure("json", "info", stream)
    listen = EventLog(get_logger())
    listen(WorkerDied("m", "MemoryError"))
    listen(RequestFailed("m", "EngineError", 2))
    listen(RequestFailed("m", "CancelledError", 1))
    listen(RequestRefused("BudgetError"))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["error"]) for line in lines] == [
        ("worker_died", "critical", "MemoryError"),
        ("request_not_answered", "info", "EngineError"),
        ("request_not_answered", "info", "CancelledError"),
    ]


def test_a_new_number_of_decoding_threads_is_logged(stream: StringIO) -> None:
    configure("json", "info", stream)
    EventLog(get_logger())(DecodeThreadsChanged(7))
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["threads"]) == ("decode_threads", "info", 7)


def test_drift_is_logged_where_it_begins_and_ends(stream: StringIO) -> None:
    configure("json", "info", stream)
    listen = EventLog(get_logger())
    for alarm, changed in ((False, False), (True, True), (True, False), (False, True)):
        listen(
            DriftMeasured(
                "m", 1, score=0.3, limit=0.13, alarm=alarm, changed=changed, of="classes", rows=4000
            )
        )
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["exit"], line["of"], line["images"]) for line in lines] == [
        ("drift", "warning", 2, "classes", 4000),
        ("drift_over", "info", 2, "classes", 4000),
    ]


def test_low_agreement_is_logged_where_it_begins_and_ends(stream: StringIO) -> None:
    configure("json", "info", stream)
    listen = EventLog(get_logger())
    for alarm, changed in ((False, False), (True, True), (True, False), (False, True)):
        listen(AgreementMeasured("m", 0, 0.5, 0.9, alarm=alarm, changed=changed, images=100))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["exit"], line["share"]) for line in lines] == [
        ("agreement_low", "warning", 1, 0.5),
        ("agreement_back", "info", 1, 0.5),
    ]
