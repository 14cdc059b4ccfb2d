"""What a key may ask for in a second, by an injected clock; and what callers over their limits get."""

import base64
import hashlib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from benchmarks.attack.nets import png
from serving.errors import KeyLimitError, OverloadedError
from serving.events import Event, KeyLimited
from serving.options import ClassifyOptions
from serving.web.access.control import Access
from serving.web.access.keys import KeyRing
from serving.web.access.limits import (
    ALLOWANCE,
    Allowance,
    Charge,
    Limits,
    TokenBucket,
    charge_of,
    read_limits,
)
from serving.web.app import create_app
from tests.bundles import tiny_images
from tests.serving.web.fakes import FakeModel, fake_service

EXITS = (1000, 4000, 8000)
AUTHORIZED = {"Authorization": "Bearer secret", "Content-Type": "application/json"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def allowance(clock: Clock, requests: float | None = None, flops: float | None = None) -> Allowance:
    return Allowance("ann", Limits(requests, flops), lambda _: None, clock)


def answered(model: FakeModel, images: int) -> Future[Any]:
    return model.submit(tiny_images(images), ClassifyOptions(), received_at=0.0).future


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("requests=50", Limits(50.0, None)),
        ("flops=2GFLOPs", Limits(None, 2e9)),
        ("flops=1.5e9", None),
        ("requests=0.25,flops=150MFLOPs", Limits(0.25, 150e6)),
        ("flops=7 , requests=1", Limits(1.0, 7.0)),
        ("requests=0", None),
        ("requests=-1", None),
        ("requests=nan", None),
        ("requests=1,requests=2", None),
        ("requests=5MFLOPs", None),
        ("flops=50%", None),
        ("flops=3 apples", None),
        ("images=3", None),
        ("requests=" + 99 * "9", None),
        ("requests=0." + 9 * "0", None),
        ("requests=\u0663", None),
    ],
)
def test_limits_are_read_or_refused(text: str, limits: Limits | None) -> None:
    if limits is not None:
        assert read_limits(text) == limits
        return
    with pytest.raises(ValueError, match="expected limits such as"):
        read_limits(text)


@given(
    st.floats(0.01, 1e12),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1e12)), min_size=1, max_size=40),
)
def test_what_a_bucket_gives_is_what_time_brings_and_a_full_one_and_at_most_one_request_more(
    per_second: float, tries: list[tuple[float, float]]
) -> None:
    clock, given_out, largest = Clock(), 0.0, 0.0
    bucket = TokenBucket(per_second, 0.0, clock)
    for seconds, amount in tries:
        clock.now += seconds
        if not bucket.take(amount):
            given_out, largest = given_out + amount, max(largest, amount)
    passed = clock.now - Clock.now
    assert given_out <= (per_second * (passed + 1) + largest) * (1 + 1e-9)


@given(st.floats(0.01, 1e9), st.floats(0, 1e12), st.floats(0, 1e12))
def test_who_waits_as_long_as_told_is_let_in(per_second: float, first: float, second: float) -> None:
    clock = Clock()
    bucket = TokenBucket(per_second, 0.0, clock)
    bucket.take(first)
    if wait := bucket.take(second):
        clock.now += wait * (1 + 1e-9) + 1e-6
        assert bucket.take(second) == 0


def test_requests_come_back_with_time() -> None:
    clock = Clock()
    limited = allowance(clock, requests=2)
    limited.take_request()
    limited.take_request()
    with pytest.raises(KeyLimitError, match=r"may ask for 2 requests a second, .* in 0\.5 s") as caught:
        limited.take_request()
    assert isinstance(caught.value, OverloadedError)
    assert caught.value.retry_after_seconds == 0.5
    clock.now += 0.5
    limited.take_request()


def test_what_answers_did_not_cost_goes_back_and_a_large_request_leaves_a_debt() -> None:
    clock, model = Clock(), FakeModel()
    exits = model.exit_flops
    limited = allowance(clock, flops=exits[-1])
    charge = Charge(limited, exits[-1])
    charge.take(10)  # ten times what a second brings, from a full bucket
    with pytest.raises(KeyLimitError):
        limited.take_flops(1.0)
    charge.settle(answered(model, 10))  # all at the first exit
    debt = 10 * exits[0] - exits[-1]
    assert debt > 0
    clock.now += (debt + 2) / exits[-1]
    limited.take_flops(1.0)
    with pytest.raises(KeyLimitError):
        limited.take_flops(100.0)


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_what_was_admitted_and_not_answered_costs_what_it_was_to(how: str) -> None:
    limited = allowance(Clock(), flops=8000)
    charge, future = Charge(limited, 8000), Future[Any]()
    charge.take(1)
    future.cancel() if how == "cancelled" else future.set_exception(RuntimeError())
    charge.settle(future)
    with pytest.raises(KeyLimitError):
        limited.take_flops(1.0)


@pytest.mark.parametrize(
    ("ask", "images", "last"),
    [
        (ClassifyOptions(budget="50%"), 2, True),
        (ClassifyOptions(budget="50%"), 1, False),
        (ClassifyOptions(), 1, True),
        (ClassifyOptions(budget=1000.0), 7, False),
        (ClassifyOptions(budget="50%", explain=True), 1, True),
    ],
)
def test_a_request_is_counted_at_its_budget(ask: ClassifyOptions, images: int, last: bool) -> None:
    limited = allowance(Clock(), flops=8000)
    token = ALLOWANCE.set(limited)
    try:
        charge = charge_of(ask, EXITS)
    finally:
        ALLOWANCE.reset(token)
    assert charge is not None
    charge.take(images)
    if last:
        with pytest.raises(KeyLimitError):
            limited.take_flops(1.0)
    else:
        limited.take_flops(1000.0)


def test_a_budget_in_time_is_counted_at_its_flops() -> None:
    limited = allowance(Clock(), flops=8000)
    token = ALLOWANCE.set(limited)
    try:
        charge = charge_of(ClassifyOptions(budget="4ms"), EXITS, (0.002, 0.004, 0.008)[: len(EXITS)])
    finally:
        ALLOWANCE.reset(token)
    assert charge is not None
    assert charge._image_flops == pytest.approx(EXITS[1])


def test_keys_without_limits_are_not_counted() -> None:
    assert charge_of(ClassifyOptions(), EXITS) is None


def ring(path: Path, limits: str, clock: Clock, events: list[Event]) -> KeyRing:
    path.write_text(
        f"ann:normal:{hashlib.sha256(b'secret').hexdigest()}{limits}\n"
        f"bob:normal:{hashlib.sha256(b'other').hexdigest()}\n"
    )
    return KeyRing(path, structlog.get_logger(), clock, events.append)


def test_too_many_requests_are_a_429_with_retry_after_and_others_are_served(tmp_path: Path) -> None:
    clock, events = Clock(), list[Event]()
    keys = ring(tmp_path / "keys", ":requests=2", clock, events)
    http = TestClient(create_app(fake_service()[0], Access(keys=keys)), base_url="http://localhost")
    assert [http.get("/models", headers=AUTHORIZED).status_code for _ in range(3)] == [200, 200, 429]
    refused = http.post("/classify", content=b"x", headers=AUTHORIZED)
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"] == "urn:offramp:problem:key-over-its-limit"
    assert events == [KeyLimited("ann", "requests")] * 2
    assert http.get("/models", headers={"Authorization": "Bearer other"}).status_code == 200
    assert http.get("/v2/health/ready").status_code == 200
    clock.now += 0.5
    assert http.get("/models", headers=AUTHORIZED).status_code == 200


@pytest.mark.parametrize("route", ["/classify", "/v2/models/tiny/infer"])
def test_flops_are_counted_for_every_protocol(tmp_path: Path, route: str) -> None:
    model, events = FakeModel(), list[Event]()
    keys = ring(tmp_path / "keys", f":flops={model.exit_flops[-1]}", clock := Clock(), events)
    http = TestClient(create_app(fake_service(model)[0], Access(keys=keys)), base_url="http://localhost")
    (image,) = tiny_images(1)
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, *image.shape], "data": image.tolist()}
    asked = {"inputs": [tensor]} if "infer" in route else {"images": [base64.b64encode(png(1)).decode()]}

    def ask() -> int:
        return http.post(route, json=asked, headers=AUTHORIZED).status_code

    afford = model.exit_flops[-1] // model.exit_flops[0]  # all leave at the first exit, and pay for no more
    statuses = [ask() for _ in range(afford + 2)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert set(events) == {KeyLimited("ann", "flops")}
    clock.now += 1
    assert ask() == 200


def test_a_file_read_again_keeps_what_is_left(tmp_path: Path) -> None:
    clock, events = Clock(), list[Event]()
    keys = ring(tmp_path / "keys", ":requests=1", clock, events)

    def take() -> None:
        key = keys.find("Bearer secret")
        assert key is not None
        assert key.allowance is not None
        key.allowance.take_request()

    take()
    text = (tmp_path / "keys").read_text()
    (tmp_path / "keys").write_text(text + "# read again\n")
    keys._looked_at -= 5
    with pytest.raises(KeyLimitError):
        take()
    (tmp_path / "keys").write_text(text.replace("requests=1", "requests=3"))
    keys._looked_at -= 5
    take()
    changed = keys.find("Bearer secret")
    assert changed is not None
    assert changed.limits == Limits(3.0)
