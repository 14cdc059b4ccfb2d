import pytest
from starlette.testclient import TestClient

from serving.web.app import create_app
from tests.serving.web.fakes import FakeModel, fake_service


def test_live_and_ready() -> None:
    http = TestClient(create_app(fake_service()[0]))
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    assert http.head("/v2/health/ready").status_code == 200


def test_draining_is_live_but_not_ready_and_lets_connections_go() -> None:
    service, _ = fake_service()
    http = TestClient(create_app(service))
    service.draining = True
    response = http.get("/v2/health/ready")
    assert (response.status_code, response.headers["connection"]) == (503, "close")
    assert "shutting down" in response.json()["detail"]
    assert http.get("/v2/health/live").status_code == 200


def test_a_server_without_a_sound_model_is_unready_and_names_those_that_are_not() -> None:
    hung = FakeModel("hung", stalled_seconds=31)
    http = TestClient(create_app(fake_service(FakeModel("gone", alive=False), hung)[0]))
    response = http.get("/v2/health/ready")
    assert response.status_code == 503
    assert response.json()["detail"] == "the worker of gone, hung has stopped or hangs"


def test_one_sound_model_is_enough_to_be_ready() -> None:
    models = FakeModel("fine"), FakeModel("gone", alive=False), FakeModel("hung", stalled_seconds=31)
    http = TestClient(create_app(fake_service(*models)[0]))
    assert http.get("/v2/health/ready").status_code == 200
    assert http.get("/v2/health/live").status_code == 200


def test_a_model_that_hangs_twice_as_long_makes_the_process_worth_ending() -> None:
    models = FakeModel("fine"), FakeModel("hung", stalled_seconds=61)
    response = TestClient(create_app(fake_service(*models)[0])).get("/v2/health/live")
    assert (response.status_code, response.json()["detail"]) == (503, "the worker of hung hangs")


def test_metrics_count_by_route_and_status() -> None:
    http = TestClient(create_app(fake_service()[0]))
    http.get("/models/tiny")
    http.get("/models/other")
    http.get("/nowhere/1")
    http.get("/nowhere/2")
    response = http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'offramp_http_requests_total{route="/models/{model}",status="200"} 1.0' in response.text
    assert 'offramp_http_requests_total{route="/models/{model}",status="404"} 1.0' in response.text
    assert 'offramp_http_requests_total{route="unmatched",status="404"} 2.0' in response.text
    assert 'offramp_exits_total{exit="3",model="tiny"} 0.0' in response.text
    assert "nowhere" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "status", "names"),
    [
        ("GET", "/nowhere", 404, "see /docs"),
        ("GET", "/models/", 404, "see /docs"),
        ("GET", "/classify", 405, "POST"),
        ("DELETE", "/models", 405, "GET"),
    ],
)
def test_the_frameworks_errors_are_problems(method: str, path: str, status: int, names: str) -> None:
    response = TestClient(create_app(fake_service()[0])).request(method, path)
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.json()["type"]) == (status, "about:blank")
    assert names in response.json()["detail"]
    assert (status == 405) == ("allow" in response.headers)


def test_the_api_documents_bodies_parameters_and_problems() -> None:
    http = TestClient(create_app(fake_service()[0]))
    assert http.get("/docs").status_code == 200
    paths = http.get("/openapi.json").json()["paths"]
    classify = paths["/classify"]["post"]
    assert {"image/png", "image/jpeg", "image/webp", "application/json", "application/x-npy"} <= set(
        classify["requestBody"]["content"]
    )
    assert [parameter["name"] for parameter in classify["parameters"]] == [
        "budget",
        "mode",
        "deadline_ms",
        "max_drop",
        "priority",
        "model",
        "version",
        "top_k",
        "probabilities",
        "explain",
        "timings",
        "on_error",
    ]
    assert {"200", "400", "408", "413", "415", "422", "429", "503"} <= set(classify["responses"])
    assert list(classify["responses"]["429"]["content"]) == ["application/problem+json"]
    plan = paths["/models/{model}/plan"]["get"]
    assert [parameter["name"] for parameter in plan["parameters"]] == ["model", "budget", "max_drop"]
    assert list(plan["responses"]["422"]["content"]) == ["application/problem+json"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
        ("application/openmetrics-text", "application/openmetrics-text"),
        ("application/openmetrics-text; version=none", "application/openmetrics-text"),
        ("text/plain; version=0.0.4", "text/plain"),
    ],
)
def test_metrics_come_in_the_format_that_the_caller_takes(accept: str, media_type: str) -> None:
    http = TestClient(create_app(fake_service()[0]), raise_server_exceptions=False)
    answer = http.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert answer.text.endswith("# EOF\n") == (media_type != "text/plain")
