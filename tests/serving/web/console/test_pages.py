"""The console's files as they are sent: small, closed in themselves, guarded by a policy."""

import re
from pathlib import Path

import pytest
import structlog
from starlette.testclient import TestClient

from serving.web.access.control import Access
from serving.web.access.keys import KeyRing
from serving.web.app import create_app
from serving.web.console.pages import ASSETS, assets
from tests.serving.web.access.test_control import line
from tests.serving.web.fakes import fake_service

MOST_BYTES = 150_000


def client(access: Access | None = None, port: int = 8000, **settings: object) -> TestClient:
    app = create_app(fake_service(**settings)[0], access or Access())
    return TestClient(app, base_url=f"http://localhost:{port}")


def test_all_of_it_is_light() -> None:
    assert sum(len(asset.body) for asset in assets({}).values()) < MOST_BYTES


def test_the_page_names_only_files_that_are_there() -> None:
    http = client()
    page = http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="(console/[^"]+)"', page.text)
    assert len(named) >= 4
    assert all(http.get("/" + name).status_code == 200 for name in named)


def test_modules_import_only_files_that_are_there() -> None:
    files = assets({})
    for name, asset in files.items():
        if name.endswith(".js"):
            imported = re.findall(r'from "\./([^"]+)"', asset.body.decode())
            assert set(imported) <= files.keys(), name


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline() -> None:
    http = client()
    page = http.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "style=" not in page.text
    assert re.findall(r"<script(?![^>]* src=)", page.text) == []
    for name, asset in assets({}).items():
        if not name.startswith("uplot"):
            outside = re.findall(rb"https?://(?!www\.w3\.org/2000/svg)", asset.body)
            assert outside == [], name


@pytest.mark.parametrize("name", ["../pages.py", "nothing.js", "%2e%2e%2fpages.py", "uplot.LICENSE"])
def test_nothing_else_of_the_package_is_sent(name: str) -> None:
    assert client().get(ASSETS + name).status_code == 404


def test_what_has_not_changed_is_not_sent_again() -> None:
    http = client()
    tag = http.get("/").headers["etag"]
    again = http.get("/", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert http.head("/").status_code == 200


def test_it_can_be_left_out() -> None:
    http = client(console=False)
    assert http.get("/").status_code == 404
    assert http.get(ASSETS + "app.js").status_code == 404


def test_it_is_on_the_admin_port_alone() -> None:
    assert client(Access(admin_port=9000), port=8000).get("/").status_code == 404
    assert client(Access(admin_port=9000), port=9000).get("/").status_code == 200


def test_the_pages_come_without_a_key_and_what_they_ask_does_not(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(line("ann", "secret"))
    http = client(Access(keys=KeyRing(path, structlog.get_logger())))
    assert http.get("/").status_code == 200
    assert http.get(ASSETS + "app.js").status_code == 200
    assert http.get("/models").status_code == 401
    assert http.get("/models/tiny/live").status_code == 401


def test_the_page_is_told_what_the_server_can_do() -> None:
    assert b'<html lang="en" data-explain="yes">' in assets({"explain": "yes"})["index.html"].body
