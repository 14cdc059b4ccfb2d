"""`offramp watch` as a process of its own, and its page in Chromium while a run goes on."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from benchmarks.browser import browser, watched
from tests.chromium import IN_CHROMIUM
from tests.training.watching.test_reading import record, run_folder
from training import watch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    more = {"lr": 0.1, "images_per_second": 100.0}
    folder = run_folder(tmp_path / "mine", record(1, **more), record(2, **more))
    (folder / "conflict").mkdir()
    found = {"mini_batch": {"whole": {"cosine": [[1.0, -0.25], [-0.25, 1.0]]}}, "expected": None}
    (folder / "conflict" / "conflict.json").write_text(json.dumps(found))
    return folder


def heed_interrupts() -> None:
    """Undo what a shell does for jobs in the background: they inherit that interrupts are ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    """The address that the command tells; Ctrl-C ends it without a word."""
    words = [sys.executable, "-P", "-m", "offramp", "watch", str(folder), "--port", "0"]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509
    ) as process:
        try:
            assert process.stdout is not None
            told = re.match(r"(http://127\.0\.0\.1:\d+/) shows ", process.stdout.readline())
            assert told is not None
            yield told[1]
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
            assert (process.returncode, err) == (0, "")
        finally:
            process.kill()


def get(url: str, path: str, host: str | None = None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request("GET", path, headers={"Host": host or parts.netloc})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_it_serves_the_run_and_nothing_else(url: str, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    status, body = get(url, "/run.json")
    assert (status, [each["epoch"] for each in json.loads(body)["records"]]) == (200, [1, 2])
    for path in ("/../config.json", "/assets/../../server.py", "/assets/app.js", "/config.json", "/assets/"):
        assert get(url, path)[0] == 404, path
    assert get(url, "/run.json", host="evil.example:80")[0] == 421
    (folder / "metrics.jsonl").write_text("{")
    status, body = get(url, "/run.json")
    assert status == 503
    assert "metrics.jsonl" in json.loads(body)["detail"]
    (folder / "metrics.jsonl").unlink()
    assert {path for path in before if not path.exists()} == {folder / "metrics.jsonl"}
    assert set(folder.rglob("*")) <= before.keys()


@IN_CHROMIUM
def test_the_page_follows_the_run(url: str, folder: Path) -> None:
    with browser() as started, watched(started, url) as seen:
        page = seen.page
        expect(page.locator(".tiles dd").first).to_have_text("2 of 5")
        expect(page.locator(".uplot")).to_have_count(4)
        expect(page.locator("#conflict td.number").nth(1)).to_have_text("-0.25")
        expect(page.locator("#status")).to_contain_text("last epoch")
        assert "exit 2 75.00%" in (page.locator(".visually-hidden").all_text_contents()[1])
        more = {"lr": 0.1, "images_per_second": 100.0, "fusion_deviation": 0.2}
        run_folder(folder, *(record(epoch, **more) for epoch in range(1, 6)))
        expect(page.locator(".tiles dd").first).to_have_text("5 of 5")
        expect(page.locator("#status")).to_have_text("finished")
        expect(page.locator(".uplot")).to_have_count(5)
        assert seen.errors == []
        assert seen.foreign == []


def test_mistakes_are_one_line(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert watch.main([str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert watch.main([str(folder), "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot be had" in capsys.readouterr().err
