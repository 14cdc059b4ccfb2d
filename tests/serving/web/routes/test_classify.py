import asyncio
import base64
import gzip
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.errors import ClosedError, DeadlineError, EngineError, OverloadedError
from serving.events import RequestRefused
from serving.options import ClassifyOptions
from serving.web.app import create_app
from serving.web.connection.caller import EXTENSION
from serving.web.service import Service
from tests.bundles import tiny_images
from tests.serving.web.fakes import FakeModel, fake_service, once

IMAGES = tiny_images(3)
PNG = {"Content-Type": "image/png"}
NPY = {"Content-Type": "application/x-npy"}


def encoded(image: np.ndarray[Any, Any], image_format: str = "PNG") -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, image_format)
    return stream.getvalue()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


IMAGE = encoded(IMAGES[0])


def post(service: Service, url: str, content: Any = IMAGE, headers: Any = PNG) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(url, content=content, headers=headers)

    return asyncio.run(send())


def class_index(image: np.ndarray[Any, Any]) -> int:
    return int(image[0, 0, 0]) % 4


def test_one_image_gets_one_answer() -> None:
    model = FakeModel()
    response = post(fake_service(model)[0], "/classify?budget=50%25")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    index = class_index(IMAGES[0])
    assert response.json() == {
        "class_name": model.manifest.classes[index],
        "class_index": index,
        "confidence": 0.5,
        "exit": 1,
        "flops": 1000,
        "budget_flops": 3500.0,
        "model": "tiny",
    }
    np.testing.assert_array_equal(model.asked[0][0], IMAGES[:1])


def test_what_is_not_asked_for_is_the_models_to_decide() -> None:
    model = FakeModel(default_budget="2kFLOPs")
    response = post(fake_service(model)[0], "/classify")
    assert response.json()["budget_flops"] == 2000
    assert "deadline_met" not in response.json()
    assert model.asked[0][1] == ClassifyOptions()


def test_all_that_is_asked_for_reaches_the_model() -> None:
    model = FakeModel()
    response = post(fake_service(model)[0], "/classify?budget=50%25&mode=hard&deadline_ms=250&model=tiny")
    assert response.json()["deadline_met"] is True
    assert post(fake_service(model)[0], "/classify?max_drop=0.02").status_code == 200
    assert [ask for _, ask in model.asked] == [
        ClassifyOptions("50%", "hard", 0.25, model="tiny"),
        ClassifyOptions(max_drop=0.02),
    ]


def test_a_missed_deadline_is_a_504_that_says_what_to_do() -> None:
    service, events = fake_service(FakeModel(failure=DeadlineError("no exit was done")))
    response = post(service, "/classify?deadline_ms=60000")
    assert (response.status_code, response.json()["detail"]) == (504, "no exit was done")
    assert response.json()["type"] == "urn:offramp:problem:deadline-passed"
    assert [event.error for event in events if isinstance(event, RequestRefused)] == ["DeadlineError"]


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/octet-stream"}])
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_an_untyped_body_is_sniffed(headers: dict[str, str], image_format: str) -> None:
    assert post(fake_service()[0], "/classify", encoded(IMAGES[0], image_format), headers).status_code == 200


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_gets_one_result_each(count: int) -> None:
    as_json = {"images": [base64.b64encode(encoded(image)).decode() for image in IMAGES[:count]]}
    service, _ = fake_service()
    for content, content_type in (
        (json.dumps(as_json), "application/json; charset=utf-8"),
        (npy(IMAGES[:count]), "application/x-npy"),
        (npy(np.asfortranarray(IMAGES[:count])), "application/x-npy"),
    ):
        response = post(service, "/classify", content, {"Content-Type": content_type})
        results = response.json()["results"]
        assert [result["class_index"] for result in results] == [
            class_index(image) for image in IMAGES[:count]
        ]


def test_the_model_is_named_defaulted_or_asked_for() -> None:
    models = FakeModel("one"), FakeModel("two")
    assert post(fake_service(*models)[0], "/classify?model=two").json()["model"] == "two"
    assert post(fake_service(*models, default_model="one")[0], "/classify").json()["model"] == "one"
    response = post(fake_service(*models)[0], "/classify")
    assert (response.status_code, response.json()["title"]) == (400, "no model chosen")
    assert "one, two" in response.json()["detail"]


GOOD = base64.b64encode(encoded(IMAGES[0])).decode()
BROKEN = base64.b64encode(encoded(IMAGES[0])[:60]).decode()
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("url", "content", "headers", "status", "names"),
    [
        ("?budget=150MB", b"", PNG, 422, "unknown unit"),
        ("?budget=-1", b"", PNG, 422, "positive"),
        ("?budget=nan", b"", PNG, 422, "finite"),
        ("?budget=inf", b"", PNG, 422, "finite"),
        ("?budget=", b"", PNG, 422, "expected a number"),
        ("?budget=999", b"", PNG, 422, "exit 1 costs 1000 FLOPs"),
        ("?buget=5000", b"", PNG, 422, "did you mean 'budget'"),
        (
            "?colour=red",
            b"",
            PNG,
            422,
            "expected budget, max_drop, mode, deadline_ms, model, version, explain",
        ),
        ("?budget=5000&budget=1000", b"", PNG, 422, "more than once"),
        ("?mode=soft", b"", PNG, 422, "mode=average or mode=hard"),
        ("?deadline_ms=0", b"", PNG, 422, "more than 0 ms"),
        ("?deadline_ms=nan", b"", PNG, 422, "finite"),
        ("?deadline_ms=-1", b"", PNG, 422, "found -1"),
        ("?max_drop=1.5", b"", PNG, 422, "between 0 and 1"),
        ("?max_drop=0.1&mode=hard", b"", PNG, 422, "max_drop and mode=hard contradict"),
        ("?max_drop=0.1&deadline_ms=9", b"", PNG, 422, "max_drop and deadline_ms contradict"),
        ("?model=other", b"", PNG, 404, "expected one of tiny"),
        ("", b"", PNG, 422, "empty body"),
        ("", encoded(IMAGES[0])[:60], PNG, 422, "truncated or broken"),
        ("", encoded(IMAGES[0], "JPEG"), PNG, 415, "the bytes are image/jpeg"),
        ("", b"GIF89a", {"Content-Type": "image/gif"}, 415, "image/png, image/jpeg"),
        ("", b"GIF89a", {}, 415, "start like none"),
        ("", b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "x-www-form"),
        ("", gzip.compress(encoded(IMAGES[0])), PNG | {"Content-Encoding": "gzip"}, 415, "gzip"),
        ("", encoded(np.zeros((33, 32, 3), np.uint8)), PNG, 413, "at most 1,024 pixels"),
        ("", b"x" * 5001, PNG, 413, "at most 5000 bytes"),
        ("", b"{", JSON, 400, "not JSON"),
        ("", b"[" * 4000, JSON, 400, "JSON of the form"),
        ("", b"\xff\xfe", JSON, 400, "not JSON"),
        ("", b"[]", JSON, 400, "of the form"),
        ("", b'{"images": "x"}', JSON, 400, "of the form"),
        ("", b'{"images": [], "budget": 3}', JSON, 400, "nothing else"),
        ("", b'{"images": []}', JSON, 422, "1 to 4 images, found 0"),
        ("", json.dumps({"images": [GOOD] * 5}), JSON, 422, "1 to 4 images, found 5"),
        ("", json.dumps({"images": [GOOD, BROKEN]}), JSON, 422, "images[1]: the PNG image is truncated"),
        ("", json.dumps({"images": [GOOD, 7]}), JSON, 422, "images[1]: expected a base64 string, found int"),
        ("", json.dumps({"images": ["?" * 8]}), JSON, 422, "images[0]: expected base64"),
        ("", json.dumps({"images": ["\u00e9"]}), JSON, 422, "images[0]: expected base64"),
        ("", json.dumps({"images": [GOOD, ""]}), JSON, 422, "images[1]: expected an image"),
        ("", json.dumps({"images": ["R0lGODlh"]}), JSON, 415, "images[0]: expected a PNG"),
        ("", b"not npy", NPY, 422, "expected an .npy"),
        ("", npy(IMAGES[0]), NPY, 422, "found shape [8, 8, 3]"),
        ("", npy(np.array([None])), NPY, 422, "pickled objects"),
    ],
)
def test_bad_requests_get_a_problem_and_never_a_500(
    url: str, content: Any, headers: dict[str, str], status: int, names: str
) -> None:
    service, events = fake_service(max_images=4, max_pixels=1024, max_body_bytes=5000)
    response = post(service, "/classify" + url, content, headers)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == response.status_code == status
    assert set(response.json()) == {"type", "title", "status", "detail", "error"}
    assert response.json()["type"].startswith("urn:offramp:problem:")
    assert names in response.json()["detail"]
    assert [type(event) for event in events] == [RequestRefused]


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
    async def stalled() -> AsyncIterator[bytes]:
        yield b"\x89PNG"
        await asyncio.Event().wait()

    response = post(fake_service(body_timeout_seconds=0.01)[0], "/classify", stalled())
    assert (response.status_code, response.headers["connection"]) == (408, "close")
    assert "found 4 bytes" in response.json()["detail"]


def test_a_deadline_that_comes_while_the_body_trickles_in_is_answered_then() -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"\x89PNG"
        await asyncio.Event().wait()

    service, events = fake_service(body_timeout_seconds=3600)
    response = post(service, "/classify?deadline_ms=10", stalled())
    assert response.status_code == 504
    assert "before the images were received" in response.json()["detail"]
    assert [event.error for event in events if isinstance(event, RequestRefused)] == ["DeadlineError"]


def test_a_body_that_is_too_slow_for_the_server_is_so_whatever_its_deadline() -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"\x89PNG"
        await asyncio.Event().wait()

    response = post(fake_service(body_timeout_seconds=0.01)[0], "/classify?deadline_ms=3600000", stalled())
    assert response.status_code == 408


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
            waiting = asyncio.create_task(client.post("/classify", content=encoded(IMAGES[0]), headers=PNG))
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


@pytest.mark.parametrize("whole", [True, False])
def test_hanging_up_drops_the_rows(whole: bool) -> None:
    model = FakeModel(held=True)
    service, _ = fake_service(model)
    sent: list[Any] = []

    async def scenario() -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": encoded(IMAGES[0]), "more_body": not whole})

        async def send(message: Any) -> None:
            sent.append(message)

        running = asyncio.create_task(create_app(service)(scope_of_a_post(), messages.get, send))
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
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": IMAGE, "more_body": False})

        async def send(message: Any) -> None:
            pass

        service.pool.start(once(release.wait))  # keeps the one thread busy
        running = asyncio.create_task(create_app(service)(scope_of_a_post(), messages.get, send))
        await until(lambda: service.pool._waiting == 2)
        messages.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(running, 10)
        release.set()
        await service.pool.run(lambda: None)  # behind it

    asyncio.run(scenario())
    assert model.asked == []


def test_the_documented_route_answers_the_same() -> None:
    """The framework's own way, which `ClassifyApp` spares requests, leads to the same endpoint."""
    service, _ = fake_service()
    gate = create_app(service)
    gate._shortcuts = {}

    async def send(**what: Any) -> httpx.Response:
        transport = httpx.ASGITransport(gate)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/classify?budget=50%25", **what)

    response = asyncio.run(send(content=IMAGE, headers=PNG))
    assert response.json() == post(service, "/classify?budget=50%25").json()
    assert asyncio.run(send(content=b"")).status_code == 422


def test_answers_are_counted_under_the_route(caplog: pytest.LogCaptureFixture) -> None:
    service, _ = fake_service(access_log=True)
    with caplog.at_level(logging.INFO, "offramp.access"):
        assert post(service, "/classify?budget=5000").status_code == 200
    assert 'requests_total{route="/classify",status="200"} 1.0' in service.metrics.text().decode()
    assert "budget=5000" in caplog.text


def test_a_long_query_is_read_like_a_short_one() -> None:
    service, _ = fake_service()
    for _ in range(2):
        response = post(service, f"/classify?budget={'0' * 300}5000")
        assert response.json()["budget_flops"] == 5000


def test_a_request_cancelled_while_draining_is_answered_503() -> None:
    model = FakeModel(held=True)
    service, _ = fake_service(model)
    sent: list[Any] = []

    async def scenario() -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": encoded(IMAGES[0]), "more_body": False})

        async def send(message: Any) -> None:
            sent.append(message)

        running = asyncio.create_task(create_app(service)(scope_of_a_post(), messages.get, send))
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


def test_the_likeliest_classes_and_all_probabilities() -> None:
    model = FakeModel()
    answer = post(fake_service(model)[0], "/classify?top_k=2&probabilities=1", npy(IMAGES[:1] * 0 + 2), NPY)
    (result,) = answer.json()["results"]
    assert result["top"] == [
        {"class_name": "cat", "class_index": 2, "probability": 0.5},
        {"class_name": "ant", "class_index": 0, "probability": pytest.approx(1 / 6)},
    ]
    assert result["probabilities"] == pytest.approx([1 / 6, 1 / 6, 0.5, 1 / 6])
    assert model.asked[0][1].probabilities
    plain = post(fake_service(model)[0], "/classify", npy(IMAGES[:1]), NPY).json()["results"][0]
    assert not {"top", "probabilities", "exits"} & set(plain)
    assert not model.asked[1][1].probabilities


def test_one_bad_image_need_not_fail_the_others() -> None:
    model = FakeModel()
    images = [base64.b64encode(part).decode() for part in (b"no image", IMAGE, b"GIF89a", IMAGE)]
    images[2] = "%%%"
    body = json.dumps({"images": images})
    results = post(fake_service(model)[0], "/classify?on_error=item", body, JSON).json()["results"]
    assert [("problem" in result, result.get("exit")) for result in results] == [
        (True, None),
        (False, 1),
        (True, None),
        (False, 1),
    ]
    assert results[0]["problem"]["status"] == 415
    assert "images[2]: expected base64" in results[2]["problem"]["detail"]
    assert len(model.asked[0][0]) == 2
    whole = post(fake_service(model)[0], "/classify", body, JSON)
    assert (whole.status_code, len(model.asked)) == (422, 1)


def test_a_list_without_a_good_image_is_answered_with_problems_alone() -> None:
    model = FakeModel()
    answer = post(fake_service(model)[0], "/classify?on_error=item", json.dumps({"images": ["%", "%"]}), JSON)
    assert [list(result) for result in answer.json()["results"]] == [["problem"], ["problem"]]
    assert (answer.status_code, model.asked) == (200, [])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("top_k=0", "a number of classes"),
        ("top_k=all", "found 'all'"),
        ("probabilities=yes", "probabilities=1 or probabilities=0"),
        ("explain=2", "explain=1 or explain=0"),
        ("on_error=skip", "on_error=request or on_error=item"),
        ("explain=1&mode=hard", "contradict each other"),
        ("explain=1&deadline_ms=5", "contradict each other"),
    ],
)
def test_what_answers_cannot_say(query: str, said: str) -> None:
    answer = post(fake_service()[0], f"/classify?{query}", npy(IMAGES[:1]), NPY)
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.json()


def test_a_header_says_what_a_brown_out_left_of_the_budget() -> None:
    whole = post(fake_service()[0], "/classify")
    assert "offramp-brownout" not in whole.headers
    lowered = post(fake_service(FakeModel(budget_share=1 / 3))[0], "/classify")
    assert lowered.headers["offramp-brownout"] == "0.333"
    listed = post(fake_service(FakeModel(budget_share=0.5))[0], "/classify", npy(IMAGES), NPY)
    assert listed.headers["offramp-brownout"] == "0.5"


def test_the_class_of_a_request_is_read_and_checked() -> None:
    model = FakeModel()
    service, _ = fake_service(model)
    assert post(service, "/classify?priority=low").status_code == 200
    assert model.asked[-1][1].priority == "low"
    refused = post(service, "/classify?priority=urgent")
    assert refused.status_code == 422
    assert "priority=high or priority=normal or priority=low, found 'urgent'" in refused.json()["detail"]


def test_where_the_time_went_is_told_where_it_is_asked_for() -> None:
    header = post(fake_service()[0], "/classify?timings=1").headers["server-timing"]
    assert header.startswith("decode;dur=")
    assert "stage1;dur=2.000" in header
    assert "server-timing" not in post(fake_service()[0], "/classify?timings=0").headers
    assert post(fake_service()[0], "/classify?timings=yes").status_code == 422
