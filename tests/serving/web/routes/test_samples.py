"""`GET /models/{model}/samples`: what came with a model, as `/classify` takes it, on the console's port."""

import base64
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from serving.bundle.samples import Samples
from serving.web.access.control import Access
from serving.web.app import create_app
from serving.web.routes.samples import SamplesBody
from tests.bundles import CLASSES, tiny_samples
from tests.serving.web.fakes import FakeModel, fake_service

SAMPLES = tiny_samples()


def client(samples: Samples | None = SAMPLES, access: Access | None = None, port: int = 8000) -> TestClient:
    service, _ = fake_service(FakeModel(samples=samples))
    return TestClient(create_app(service, access or Access()), base_url=f"http://localhost:{port}")


def test_they_are_what_classify_takes() -> None:
    http = client()
    found = SamplesBody.model_validate(http.get("/models/tiny/samples").json(), strict=True)
    assert [base64.b64decode(each.image) for each in found.samples] == list(SAMPLES.images)
    assert [each.class_name for each in found.samples] == list(CLASSES[:3])
    assert {each.media_type for each in found.samples} == {"image/png"}
    answer = http.post("/classify", json={"images": [each.image for each in found.samples]})
    assert len(answer.json()["results"]) == 3


def test_classes_that_nobody_knows_are_null() -> None:
    found = client(replace(SAMPLES, labels=None)).get("/models/tiny/samples").json()
    assert {each["class_name"] for each in found["samples"]} == {None}


def test_a_model_without_any_has_an_empty_list() -> None:
    answer = client(None).get("/models/tiny/samples")
    assert (answer.status_code, answer.json()) == (200, {"model": "tiny", "samples": []})


def test_an_unknown_model_is_named() -> None:
    answer = client().get("/models/other/samples")
    assert (answer.status_code, "no model 'other'" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize(("port", "status"), [(8000, 404), (9000, 200)])
def test_with_an_admin_port_they_are_there_alone(port: int, status: int) -> None:
    asked = client(access=Access(admin_port=9000), port=port).get("/models/tiny/samples")
    assert asked.status_code == status
