"""A request on its way: slow bodies, deadlines, failures, and callers who hang up."""

import asyncio
import base64
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from serving.capture.capture import Capture, CapturedImage
from serving.errors import ClosedError, EngineError, OverloadedError
from serving.events import RequestRefused
from serving.options import ClassifyOptions
from serving.system.resources import resources
from serving.web.app import create_app
from serving.web.connection.caller import EXTENSION
from serving.web.service import Service
from tests.serving.web.fakes import FakeModel, fake_service, once
from tests.serving.web.posting import IMAGE, IMAGES, JSON, PNG, encoded, post


async def stalled() -> AsyncIterator[bytes]:
    yield b"\x89PNG"
    await asyncio.Event().wait()


def test_a_body_over_the_limit_is_stopped_while_it_streams() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield bytes(1000)

    response = post(fake_service(max_body_bytes=5000)[0], "/classify", endless())
    assert (response.status_code, sent) == (413, 6)


def test_a_slow_body_times_out() -> None:
    response = post(fake_service(body_timeout_seconds=0.01)[0], "/classify", stalled())
    assert (response.status_code, response.headers["connection"]) == (408, "close")
    assert "found 4 bytes" in response.json()["detail"]


def test_a_deadline_that_comes_while_the_body_trickles_in_is_answered_then() -> None:
    service, events = fake_service(body_timeout_seconds=3600)
    response = post(service, "/classify?deadline_ms=10", stalled())
    assert response.status_code == 504
    assert "before the images were received" in response.json()["detail"]
    assert [event.error for event in events if isinstance(event, RequestRefused)] == ["DeadlineError"]


def test_a_body_that_is_too_slow_for_the_server_is_so_whatever_its_deadline() -> None:
    response = post(fake_service(body_timeout_seconds=0.01)[0], "/classify?deadline_ms=3600000", stalled())
    assert response.status_code == 408


def test_without_threads_to_decode_a_small_image_waits_for_none() -> None:
    service, _ = fake_service(decode_threads=0)
    release = threading.Event()

    async def scenario() -> tuple[int, int]:
        service.pool.start(once(release.wait))  # keeps the one thread for all else busy
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(service)), base_url="http://test"
        ) as client:
            small = await client.post("/classify", content=IMAGE, headers=PNG)
            broken = await client.post("/classify", content=IMAGE[:-20], headers=PNG)
            release.set()
        return small.status_code, broken.status_code

    assert asyncio.run(scenario()) == (200, 422)


@pytest.mark.parametrize(("given", "threads"), [(3, 3), (0, 1), ("auto", min(2, resources().cores))])
def test_the_metrics_say_how_many_threads_decode(given: int | str, threads: int) -> None:
    service, _ = fake_service(decode_threads=given)
    service.show()
    assert f"offramp_decode_threads {float(threads)}" in service.metrics.text().decode().splitlines()


def test_a_deadline_that_comes_while_the_images_wait_to_be_decoded_is_answered_then() -> None:
    service, _ = fake_service(decode_threads=1)
    release = threading.Event()

    async def scenario() -> httpx.Response:
        service.pool.start(once(release.wait))  # keeps the one thread busy
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(service)), base_url="http://test"
        ) as client:
            response = await client.post("/classify?deadline_ms=10", content=IMAGE, headers=PNG)
        release.set()
        return response

    assert asyncio.run(scenario()).status_code == 504


@pytest.mark.parametrize(
    ("failure", "status"), [(OverloadedError("full", 2.1), 429), (ClosedError("died at 0x7f"), 503)]
)
def test_what_the_model_refuses(failure: Exception, status: int) -> None:
    response = post(fake_service(FakeModel(failure=failure))[0], "/classify")
    assert response.status_code == status
    assert "at 0x7f" not in response.text
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)


def test_a_failure_of_the_engine_is_logged_not_shown_and_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel(held=True)
    service, events = fake_service(model)

    async def scenario() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(service)), base_url="http://test"
        ) as client:
            waiting = asyncio.create_task(client.post("/classify", content=IMAGE, headers=PNG))
            await until(lambda: bool(model.works))
            model.works[0].future.set_exception(EngineError("stage 2 failed on secret"))
            return await waiting

    with caplog.at_level(logging.ERROR, "offramp"):
        response = asyncio.run(scenario())
    assert response.status_code == 500
    assert "the server's log says why" in response.json()["detail"]
    assert "secret" not in response.text
    assert "secret" in caplog.text
    assert events == []


def test_the_unexpected_leaks_nothing() -> None:
    response = post(fake_service(FakeModel(failure=RuntimeError("secret")))[0], "/classify")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def scope_of_a_post() -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/classify",
        "raw_path": b"/classify",
        "query_string": b"",
        "headers": [(b"content-type", b"image/png")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        "client": None,
    }


def begun(
    service: Service, sent: list[Any], *, more_body: bool = False
) -> tuple["asyncio.Queue[dict[str, Any]]", "asyncio.Task[None]"]:
    """Begin to answer a request; return what brings further messages of it, and the task."""
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": IMAGE, "more_body": more_body})

    async def send(message: Any) -> None:
        sent.append(message)

    app = create_app(service)(scope_of_a_post(), messages.get, send)
    return messages, asyncio.ensure_future(app)


@pytest.mark.parametrize("whole", [True, False])
def test_hanging_up_drops_the_rows(whole: bool) -> None:
    model = FakeModel(held=True)
    service, _ = fake_service(model)
    sent: list[Any] = []

    async def scenario() -> None:
        messages, running = begun(service, sent, more_body=not whole)
        if whole:
            await until(lambda: bool(model.works))
        messages.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(running, 10)

    asyncio.run(scenario())
    assert sent[0]["status"] == 499
    assert [work.future.cancelled() for work in model.works] == [True] * whole


def test_a_server_that_says_so_itself_needs_no_watching() -> None:
    model = FakeModel(held=True)
    service, _ = fake_service(model)
    caller = SimpleNamespace(disconnected=False, more_body=False)
    sent: list[Any] = []

    async def scenario() -> None:
        caller.message_event = asyncio.Event()

        bodies: list[dict[str, Any]] = []

        async def receive() -> Any:
            return bodies.pop()  # a second call would be the watch that is not needed

        async def send(message: Any) -> None:
            sent.append(message)

        for hangs_up in (False, True):
            bodies.append({"type": "http.request", "body": IMAGE, "more_body": False})
            scope = scope_of_a_post() | {"extensions": {EXTENSION: {"caller": caller}}}
            model.works.clear()
            running = asyncio.create_task(create_app(service)(scope, receive, send))
            await until(lambda: bool(model.works))
            if hangs_up:
                caller.disconnected = True
                caller.message_event.set()
            else:
                model.works[0].future.set_result([model._answer(IMAGES[0], ClassifyOptions())])
            await asyncio.wait_for(running, 10)

    asyncio.run(scenario())
    assert [message["status"] for message in sent if "status" in message] == [200, 499]
    assert model.works[0].future.cancelled()


def test_who_hangs_up_before_the_decoding_costs_no_more() -> None:
    model = FakeModel()
    service, _ = fake_service(model, decode_threads=1)
    release = threading.Event()

    async def scenario() -> None:
        service.pool.start(once(release.wait))  # keeps the one thread busy
        messages, running = begun(service, [])
        await until(lambda: service.pool._waiting == 2)
        messages.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(running, 10)
        release.set()
        await service.pool.run(lambda: None)  # behind it

    asyncio.run(scenario())
    assert model.asked == []


def test_a_request_cancelled_while_draining_is_answered_503() -> None:
    model = FakeModel(held=True)
    service, _ = fake_service(model)
    sent: list[Any] = []

    async def scenario() -> None:
        _, running = begun(service, sent)
        await until(lambda: bool(model.works))
        service.draining = True
        running.cancel()
        await asyncio.wait_for(running, 10)

    asyncio.run(scenario())
    assert sent[0]["status"] == 503
    assert (b"connection", b"close") in sent[0]["headers"]
    assert model.works[0].future.cancelled()


def test_too_many_waiting_to_be_decoded_is_overload() -> None:
    service, _ = fake_service(max_queue_rows=1)
    service.pool._waiting = 1
    assert post(service, "/classify").status_code == 429


def test_a_long_query_is_read_like_a_short_one() -> None:
    service, _ = fake_service()
    for _ in range(2):
        response = post(service, f"/classify?budget={'0' * 300}5000")
        assert response.json()["budget_flops"] == 5000


def test_captured_images_have_their_places_in_the_request() -> None:
    kept: list[CapturedImage] = []
    keeper = SimpleNamespace(keep=kept.append, keys=lambda bundle: ())
    service, _ = fake_service()
    service.capture = Capture(10, 10**6, keeper)
    listed = [base64.b64encode(image).decode() for image in (IMAGE, b"no image", encoded(IMAGES[1]))]
    response = post(service, "/classify?on_error=item", json.dumps({"images": listed}).encode(), JSON)
    assert response.status_code == 200
    assert [found.image for found in kept] == [0, 2]
    assert {found.request for found in kept} == {response.headers["Offramp-Request-ID"]}
    assert {(found.model, found.bundle) for found in kept} == {("tiny", service.choose("tiny").identity)}
    np.testing.assert_array_equal([found.pixels for found in kept], IMAGES[:2])
    post(service, "/classify?explain=1")
    post(service, "/classify", b"no image")
    assert len(kept) == 2
