import logging

from serving.telemetry.log_rates import RateLimit


def record(event: object, name: str = "offramp") -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, "file", 1, event, (), None)


def test_an_event_is_logged_so_often_in_a_window_and_the_rest_is_counted() -> None:
    now = [0.0]
    limit = RateLimit(most_lines=3, window_seconds=10, clock=lambda: now[0])
    assert [limit.filter(record({"event": "failed"})) for _ in range(5)] == [True, True, True, False, False]
    assert limit.filter(record({"event": "another"}))
    now[0] = 10.0
    after = record({"event": "failed"})
    assert limit.filter(after)
    assert after.msg == {"event": "failed", "left_out_before": 2}


def test_texts_of_other_libraries_are_limited_by_their_form() -> None:
    now = [0.0]
    limit = RateLimit(most_lines=1, window_seconds=10, clock=lambda: now[0])
    assert [limit.filter(record("request %s is bad")) for _ in range(3)] == [True, False, False]
    now[0] = 11.0
    after = record("request %s is bad")
    assert limit.filter(after)
    assert str(after.msg).startswith("request %s is bad (and 2 times more")


def test_the_access_log_is_not_limited_and_kinds_do_not_pile_up() -> None:
    limit = RateLimit(most_lines=1)
    assert all(limit.filter(record({"event": "answered"}, "offramp.access")) for _ in range(100))
    for number in range(5000):
        limit.filter(record({"event": str(number)}))
    assert len(limit._windows) <= 1000
