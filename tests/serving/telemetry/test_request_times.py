from serving.scheduler.request import StageTime
from serving.telemetry.request_times import RequestTimes


def test_parts_follow_each_other_and_what_lies_between_is_the_queue() -> None:
    stages = [StageTime("stage 1", 2.5, 0.5, 3, 8), StageTime("stage 2", 3.25, 0.25, 1, 4)]
    times = RequestTimes(decoding_at=1.0, admitted_at=2.0, answered_at=4.0, stages=stages)
    found = [(part.name, part.begun, part.ended) for part in times.parts()]
    assert found == [
        ("decode", 1.0, 2.0),
        ("queue", 2.0, 2.5),
        ("stage 1", 2.5, 3.0),
        ("queue", 3.0, 3.25),
        ("stage 2", 3.25, 3.5),
        ("answer", 3.5, 4.0),
    ]
    assert times.parts()[2].attributes == {"offramp.batch_images": 8, "offramp.images": 3}
    assert times.server_timing() == (
        "decode;dur=1000.000, queue;dur=750.000, stage1;dur=500.000, stage2;dur=250.000, answer;dur=500.000"
    )


def test_a_request_that_was_not_admitted_has_no_parts() -> None:
    assert RequestTimes(decoding_at=1.0).server_timing() == ""
