"""Every example of the API's description works as the page at /docs sends it."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from starlette.testclient import TestClient

from benchmarks.browser import browser, chromium, watched
from serving.model import Model
from serving.web.app import create_app
from serving.web.service import Service
from tests.bundles import tiny_bundle
from tests.serving.web.fakes import fake_service
from training.demo.server import running_server


def sent(http: TestClient, path: str, method: str, operation: dict[str, Any]) -> list[tuple[str, int]]:
    """Send an operation as the page does: required parameters and defaults filled in, each JSON example."""
    query, filled = {}, path
    for parameter in operation.get("parameters", []):
        value = parameter.get("example", parameter["schema"].get("default"))
        if parameter["in"] == "path":
            filled = filled.replace("{" + parameter["name"] + "}", str(value))
        elif value is not None:
            query[parameter["name"]] = value
    bodies = operation.get("requestBody", {}).get("content", {"": {}})
    answers = []
    for media_type, body in bodies.items():
        if media_type in ("", "application/json"):
            answer = http.request(method, filled, params=query, json=body.get("example") or None)
            answers.append((f"{method} {filled}", answer.status_code))
    return answers


ADMIN = ("/labels", "/recent")


def test_every_example_works(tmp_path: Path) -> None:
    with Model.load(tiny_bundle(tmp_path / "tiny"), threads=1) as model:
        faked, _ = fake_service()
        service = Service({"tiny": model}, faked.settings, faked.metrics, faked.emit)
        http = TestClient(create_app(service), base_url="http://localhost")
        described = http.get("/openapi.json").json()
        answers = [
            answer
            for path, operations in described["paths"].items()
            for method, operation in operations.items()
            for answer in sent(http, path, method, operation)
        ]
    # Without --allow-admin, what changes the server or shows images is not there.
    refused = {where for where, status in answers if status >= 400}
    assert {status for where, status in answers if status >= 400} == {404}
    assert all("/v2/repository/models/" in where or where.endswith(ADMIN) for where in refused), refused
    assert len(answers) - len(refused) > 10


def test_descriptions_of_two_servers_do_not_mix() -> None:
    for name in ("one", "two"):
        faked, _ = fake_service()
        service = Service(
            {name: next(iter(faked.models.values()))}, faked.settings, faked.metrics, faked.emit
        )
        described = TestClient(create_app(service), base_url="http://localhost").get("/openapi.json").json()
        (parameter,) = described["paths"]["/models/{model}"]["get"]["parameters"]
        assert parameter["example"] == name


@pytest.mark.skipif(chromium() is None, reason="no chromium on the PATH (.ci/chromium FOLDER unpacks one)")
def test_the_page_asks_nobody_else_and_sends_what_it_shows(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny")
    with (
        running_server(tmp_path / "models", tmp_path / "log", "--threads", "1") as url,
        browser() as started,
        watched(started, f"{url}/docs") as seen,
    ):
        page = seen.page
        row = page.locator(".opblock", has=page.locator('[data-path="/models/{model}/plan"]'))
        row.locator(".opblock-summary").click()
        row.get_by_role("button", name="Try it out").click()
        row.get_by_role("button", name="Execute").click()
        expect(row.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
        assert seen.errors == []
        assert seen.foreign == []
