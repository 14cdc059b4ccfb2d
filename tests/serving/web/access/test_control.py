"""Hosts, keys and ports, over the app as it is served."""

import base64
import hashlib
import os
from pathlib import Path

import pytest
import structlog
from starlette.testclient import TestClient

from serving.command_line import SettingsValueError
from serving.web.access.control import Access, default_hosts
from serving.web.access.keys import KeyRing, read_keys
from serving.web.app import create_app, open_to_origins
from tests.serving.web.fakes import FakeModel, fake_service
from tests.serving.web.posting import IMAGE


def line(name: str, key: str, priority: str = "normal") -> str:
    return f"{name}:{priority}:{hashlib.sha256(key.encode()).hexdigest()}"


def client(access: Access, port: int = 8000, host: str = "localhost") -> TestClient:
    return TestClient(create_app(fake_service()[0], access), base_url=f"http://{host}:{port}")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST", 200),
        ("api.example.com", 200),
        ("example.com", 421),
        ("evil.test", 421),
    ],
)
def test_only_names_that_are_allowed_are_answered_to(host: str, status: int) -> None:
    http = client(Access(hosts=("localhost", "*.example.com")), host=host)
    assert http.get("/models").status_code == status
    assert http.get("/v2/health/live").status_code == 200


def test_names_default_to_this_machine_s_where_it_listens_there_alone() -> None:
    assert default_hosts("0.0.0.0") is None  # noqa: S104 - what an operator gives
    assert "localhost" in (default_hosts("127.0.0.1") or ())
    assert "::1" in (default_hosts("::1") or ())


def test_a_key_is_asked_for_but_for_health(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# who may ask\n\n{line('ann', 'secret')}\n")
    http = client(Access(keys=KeyRing(path, structlog.get_logger())))
    refused = http.get("/models")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["content-type"] == "application/problem+json"
    assert http.get("/models", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert http.get("/models", headers={"Authorization": "Basic secret"}).status_code == 401
    assert http.get("/models", headers={"Authorization": "Bearer other"}).status_code == 401
    assert http.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/console/assets/app.js", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json"]
)
def test_a_browser_gets_the_pages_that_ask_for_the_key(tmp_path: Path, path: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text(line("ann", "secret"))
    ring = KeyRing(keys, structlog.get_logger())
    assert client(Access(keys=ring)).get(path).status_code == 200
    assert client(Access(keys=ring, admin_port=9000)).get(path).status_code == 404
    assert client(Access(keys=ring, admin_port=9000), port=9000).get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/docs/", "/docs/assets/../../models", "/metrics", "/openapi.json/", "/console/assets/a/b"]
)
def test_what_lies_beside_the_pages_needs_a_key(tmp_path: Path, path: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text(line("ann", "secret"))
    assert client(Access(keys=KeyRing(keys, structlog.get_logger()))).get(path).status_code == 401


def test_keys_are_read_again_when_the_file_changes_and_kept_when_it_cannot_be_used(tmp_path: Path) -> None:
    path, now = tmp_path / "keys", [0.0]
    path.write_text(line("ann", "old"))
    ring = KeyRing(path, structlog.get_logger(), lambda: now[0])
    assert ring.find("Bearer old") is not None
    path.write_text(line("ann", "new", "high"))
    now[0] += 2
    assert ring.find("Bearer old") is None
    found = ring.find("Bearer new")
    assert found is not None
    assert (found.name, found.priority) == ("ann", "high")
    path.write_text("nonsense")
    now[0] += 2
    assert ring.find("Bearer new") is not None


def test_a_file_that_nobody_writes_to_keeps_nobody_waiting(tmp_path: Path) -> None:
    path, now = tmp_path / "keys", [0.0]
    path.write_text(line("ann", "old"))
    ring = KeyRing(path, structlog.get_logger(), lambda: now[0])
    path.unlink()
    os.mkfifo(path)
    now[0] += 2
    assert ring.find("Bearer old") is not None
    with pytest.raises(SettingsValueError, match="cannot be read: expected a regular file"):
        KeyRing(path, structlog.get_logger())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "at least one key"),
        ("ann:secret", "line 1: expected name:class:hash"),
        (line("ann", "a", "urgent"), "line 1: expected"),
        (line("ann", "a") + "\n" + line("ann", "b"), "line 2: 'ann' is there already"),
    ],
)
def test_a_line_that_is_none_is_named_and_not_shown(text: str, names: str) -> None:
    with pytest.raises(SettingsValueError, match=names) as caught:
        read_keys(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("path", ["/classify", "/models", "/models/tiny/plan", "/v2/health/live"])
def test_the_public_port_serves_what_callers_need(path: str) -> None:
    assert client(Access(admin_port=9000), port=8000).get(path).status_code != 404


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json", "/docs/assets/swagger-ui.css"])
def test_the_rest_is_on_the_other_port(path: str) -> None:
    assert client(Access(admin_port=9000), port=8000).get(path).status_code == 404
    assert client(Access(admin_port=9000), port=9000).get(path).status_code == 200


def test_docs_need_nothing_from_elsewhere() -> None:
    http = client(Access())
    page = http.get("/docs").text
    assert "https://" not in page
    assert http.get("/docs/assets/swagger-ui-bundle.js").status_code == 200


def test_every_answer_has_an_id_of_its_own_and_the_caller_s_comes_back() -> None:
    http = client(Access())
    first, second = http.get("/models"), http.get("/nowhere", headers={"X-Request-ID": "mine-7"})
    ids = [answer.headers["offramp-request-id"] for answer in (first, second)]
    assert len(set(ids)) == 2
    assert all(request_id.startswith("0-") for request_id in ids)
    assert "x-request-id" not in first.headers
    assert second.headers["x-request-id"] == "mine-7"
    assert http.get("/models", headers={"X-Request-ID": "a b"}).headers.get("x-request-id") is None
    assert first.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/classify", "/v2/models/tiny/infer"])
@pytest.mark.parametrize(
    ("of_the_key", "asked", "served"),
    [("normal", "high", "normal"), ("high", "low", "low"), ("high", None, "high"), ("low", "normal", "low")],
)
def test_with_a_key_a_request_can_only_lower_its_class(
    tmp_path: Path, path: str, of_the_key: str, asked: str | None, served: str
) -> None:
    keys, model = tmp_path / "keys", FakeModel()
    keys.write_text(line("ann", "secret", of_the_key))
    access = Access(keys=KeyRing(keys, structlog.get_logger()))
    http = TestClient(create_app(fake_service(model)[0], access))
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [0] * 192}
    image = base64.b64encode(IMAGE).decode()
    body = {"images": [image]} if path == "/classify" else {"inputs": [tensor]}
    query = {} if asked is None else {"priority": asked}
    answer = http.post(path, json=body, params=query, headers={"Authorization": "Bearer secret"})
    assert answer.status_code == 200
    assert model.asked[0][1].priority == served


def test_pages_of_origins_that_are_allowed_may_ask_and_no_others(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(line("ann", "secret"))
    service, _ = fake_service(cors_origins="https://app.example.com,http://localhost:3000")
    app = create_app(service, Access(keys=KeyRing(keys, structlog.get_logger())))
    http = TestClient(open_to_origins(app, service.settings.cors_origins))
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = http.options("/classify", headers={"Origin": "https://app.example.com"} | ask)
    assert allowed.status_code == 200  # a browser asks without the key
    assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
    assert http.options("/classify", headers={"Origin": "https://evil.test"} | ask).status_code == 400
    given = {"Authorization": "Bearer secret"}
    answer = http.get("/models", headers=given | {"Origin": "http://localhost:3000"})
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "Offramp-Request-ID" in answer.headers["access-control-expose-headers"]
    assert (
        "access-control-allow-origin"
        not in http.get("/models", headers=given | {"Origin": "https://evil.test"}).headers
    )
    refused = http.get("/models", headers={"Origin": "http://localhost:3000"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (
        401,
        "http://localhost:3000",
    )


def test_without_a_setting_no_page_of_another_origin_may_ask() -> None:
    answer = client(Access()).get("/models", headers={"Origin": "https://app.example.com"})
    assert "access-control-allow-origin" not in answer.headers
