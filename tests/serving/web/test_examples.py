"""Every example of the API's description works as the page at /docs sends it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from starlette.testclient import TestClient

from benchmarks.browser import browser, watched
from serving.model import Model
from serving.telemetry.logs import get_logger
from serving.web.access.control import Access
from serving.web.access.keys import KeyRing
from serving.web.app import create_app
from serving.web.service import Service
from tests.bundles import tiny_bundle, tiny_samples
from tests.chromium import IN_CHROMIUM
from tests.serving.web.access.test_control import line
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


@pytest.mark.parametrize("keyed", [False, True])
def test_every_example_works(tmp_path: Path, keyed: bool) -> None:
    (tmp_path / "keys").write_text(line("ann", "secret"))
    access = Access(keys=KeyRing(tmp_path / "keys", get_logger()) if keyed else None)
    with Model.load(tiny_bundle(tmp_path / "tiny", samples=tiny_samples()), threads=1) as model:
        faked, _ = fake_service()
        service = Service({"tiny": model}, faked.settings, faked.metrics, faked.emit)
        http = TestClient(create_app(service, access), base_url="http://localhost")
        described = http.get("/openapi.json").json()
        if "security" in described:  # as "Authorize" does
            http.headers["Authorization"] = "Bearer secret"
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


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as started:
        yield started


def executed(operation: Locator) -> str:
    """Send an operation as it stands on the page, and return the status that the page then shows."""
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    status = operation.locator(".live-responses-table tbody .response-col_status").first
    expect(status).to_have_text(re.compile(r"\d{3}|Undocumented"))
    return status.inner_text()[:3]


def operation(page: Page, method: str, path: str) -> Locator:
    return page.locator(f".opblock-{method}", has=page.locator(f'[data-path="{path}"]'))


@IN_CHROMIUM
def test_the_page_asks_nobody_else_and_sends_what_it_shows(chrome: Browser, tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny", samples=tiny_samples())
    with (
        running_server(tmp_path / "models", tmp_path / "log", "--threads", "1") as url,
        watched(chrome, f"{url}/docs") as seen,
    ):
        assert executed(operation(seen.page, "post", "/classify")) == "200"
        expect(seen.page.get_by_role("button", name="Authorize")).to_have_count(0)
        assert seen.errors == []
        assert seen.foreign == []


@IN_CHROMIUM
def test_with_keys_the_page_takes_one_and_sends_it(chrome: Browser, tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "models" / "tiny", samples=tiny_samples())
    keys = tmp_path / "keys"
    keys.write_text(line("ann", "secret"))
    flags = ("--threads", "1", "--api-keys-file", str(keys))
    with (
        running_server(tmp_path / "models", tmp_path / "log", *flags) as url,
        watched(chrome, f"{url}/docs") as seen,
    ):
        page = seen.page
        assert executed(operation(page, "get", "/v2/health/ready")) == "200"
        assert executed(operation(page, "post", "/classify")) == "401"
        page.get_by_role("button", name="Authorize").first.click()
        dialog = page.locator(".modal-ux")
        dialog.get_by_role("textbox").fill("secret")
        dialog.get_by_role("button", name="Apply credentials").click()
        dialog.get_by_role("button", name="Close").first.click()
        for method, path in (("get", "/models/{model}/plan"), ("post", "/v2/models/{model}/infer")):
            assert executed(operation(page, method, path)) == "200"
        again = operation(page, "post", "/classify")
        again.get_by_role("button", name="Execute").click()
        expect(again.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
        assert seen.foreign == []
