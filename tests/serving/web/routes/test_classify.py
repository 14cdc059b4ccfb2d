import asyncio
import base64
import gzip
import json
import logging
from typing import Any

import httpx
import numpy as np
import pytest

from serving.errors import DeadlineError
from serving.events import RequestRefused
from serving.options import ClassifyOptions
from serving.web.app import create_app
from tests.serving.web.fakes import FakeModel, fake_service
from tests.serving.web.posting import IMAGE, IMAGES, JSON, NPY, PNG, encoded, npy, post


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
        ("", b"GIF89a", {}, 415, "found a GIF image"),
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
