"""The console in Chromium, on a server as a process of its own, as people use it."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from benchmarks.browser import SIZES, Watched, browser, drop, paste, watched
from tests.bundles import tiny_bundle
from tests.chromium import IN_CHROMIUM
from training.demo.server import running_server

pytestmark = IN_CHROMIUM

ROOT = Path(__file__).parents[4]
HORSE, DEER = ROOT / "docs/images/horse.png", ROOT / "docs/images/deer.png"
AXE = Path(__file__).with_name("axe") / "axe.min.js"
VIEWS = ("try", "plan", "live")
SHADOW = "cifar10-msdnet-int8=cifar10-resnet9-int8:1.0"
FLAGS = ("--threads", "1", "--default-model", "cifar10-msdnet-int8", "--shadow", SHADOW)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("console") / "log"
    with running_server(ROOT / "exported_models", log, *FLAGS) as address:
        yield address


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as started:
        yield started


def show(seen: Watched, view: str) -> None:
    """Open a view and wait until it shows what it is for."""
    page = seen.page
    page.locator(f'nav a[data-view="{view}"]').click()
    if view == "try":
        page.locator("#model").select_option("cifar10-ladder-int8")
        expect(page.locator(".samples")).to_be_visible()
        page.set_input_files("#files", [HORSE])
        expect(page.locator(".said")).to_contain_text("horse")
    elif view == "plan":
        expect(page.locator(".verdict")).to_contain_text("images a second on")
        expect(page.locator("#view-plan .uplot")).to_have_count(3)
    else:
        expect(page.locator("#view-live .uplot")).to_have_count(4)


def classify(url: str, picture: Path, count: int) -> None:
    for _ in range(count):
        httpx.post(
            f"{url}/classify?budget=40%25",
            content=picture.read_bytes(),
            headers={"Content-Type": "image/png"},
            timeout=60,
        ).raise_for_status()


def overheard(page: Page) -> list[Any]:
    """Return a list that gets what the server answers to /classify."""
    answers: list[Any] = []

    def pass_on(route: Route) -> None:
        response = route.fetch()
        answers.append(response.json())
        route.fulfill(response=response)

    page.route("**/classify?*", pass_on)
    return answers


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_view_is_sound_and_accessible(
    chrome: Browser, url: str, size: str, scheme: Literal["light", "dark"]
) -> None:
    classify(url, DEER, 3)
    with watched(chrome, url, size, scheme) as seen:
        for view in VIEWS:
            show(seen, view)
            width = seen.page.evaluate("document.documentElement.scrollWidth")
            assert width <= SIZES[size][0], f"{view} is wider than the window"
            seen.page.evaluate(AXE.read_text())
            found = seen.page.evaluate("axe.run().then(found => found.violations)")
            serious = [
                (each["id"], [node["html"] for node in each["nodes"]])
                for each in found
                if each["impact"] in ("serious", "critical")
            ]
            assert serious == [], view
        assert seen.errors == []
        assert seen.foreign == []


def test_an_image_leaves_where_the_server_says_and_the_slider_asks_again(chrome: Browser, url: str) -> None:
    with watched(chrome, url) as seen:
        page = seen.page
        expect(page.locator(".lead")).to_be_visible()
        answers = overheard(page)
        page.set_input_files("#files", [DEER])
        expect(page.locator(".said")).to_be_visible()
        (answer,) = answers
        row = page.locator("#view-try tr.here")
        expect(row).to_contain_text(answer["class_name"])
        expect(row.locator(".exit")).to_have_text(str(answer["exit"]))
        expect(page.locator(".sign.here text")).to_have_text(str(answer["exit"]))
        expect(page.locator(".way")).to_have_count(1)

        with page.expect_response(lambda answer: "/classify" in answer.url) as again:
            page.locator("#view-try").get_by_label("Budget for an image").press("Home")
        assert "budget=15.5%25" in again.value.url
        expect(page.locator(".sign.here text")).to_have_text("1")
        assert seen.errors == []


@pytest.mark.parametrize(
    ("mode", "asked"),
    [("Hard", "mode=hard"), ("Deadline", "deadline_ms="), ("Guarantee", "max_drop=")],
)
def test_every_promise_can_be_asked_for(chrome: Browser, url: str, mode: str, asked: str) -> None:
    with watched(chrome, url) as seen:
        page = seen.page
        page.set_input_files("#files", [HORSE])
        expect(page.locator(".said")).to_be_visible()
        with page.expect_response(lambda answer: "/classify" in answer.url) as answered:
            page.get_by_text(mode, exact=True).click()
        assert asked in answered.value.url
        assert answered.value.status == 200
        expect(page.locator(".said")).to_contain_text("horse")
        assert seen.errors == []


def test_several_images_are_one_request_and_each_can_be_looked_at(chrome: Browser, url: str) -> None:
    with watched(chrome, url) as seen:
        page = seen.page
        answers = overheard(page)
        page.set_input_files("#files", [HORSE, DEER])
        expect(page.locator(".said")).to_be_visible()
        exits = [answer["exit"] for answer in answers[0]["results"]]
        expect(page.locator(".thumb .exit")).to_have_text([str(each) for each in exits])
        second = page.locator(".thumb").nth(1)
        second.focus()
        page.keyboard.press("Enter")
        expect(second).to_have_attribute("aria-pressed", "true")
        expect(second).to_be_focused()
        expect(page.locator("#view-try tr.here .exit")).to_have_text(str(exits[1]))


def test_what_came_with_the_model_can_be_chosen_by_keys(chrome: Browser, url: str) -> None:
    with watched(chrome, url) as seen:
        page = seen.page
        row = page.get_by_role("group", name="Images that came with the model")
        expect(page.locator(".lead")).to_be_visible()
        expect(row).to_be_hidden()  # of a bundle without any
        page.locator("#model").select_option("cifar10-ladder-int8")
        samples = row.get_by_role("button")
        expect(samples).to_have_count(16)
        page.locator("#files").focus()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="all 16")).to_be_focused()
        page.keyboard.press("Tab")
        expect(samples.first).to_be_focused()
        page.keyboard.press("ArrowRight")
        with page.expect_response(lambda answer: "/classify" in answer.url) as answered:
            page.keyboard.press("Enter")
        assert answered.value.status == 200
        second = samples.nth(1)
        expect(second).to_have_attribute("aria-pressed", "true")
        expect(second).to_be_focused()
        truth = (second.get_attribute("aria-label") or "").partition(": ")[2]
        expect(page.locator(".facts")).to_contain_text(truth)
        page.keyboard.press("Tab")
        expect(page.get_by_role("radio", name="Average")).to_be_focused()

        page.get_by_role("button", name="all 16").click()
        expect(page.get_by_role("group", name="Images", exact=True).locator(".exit")).to_have_count(16)
        page.set_input_files("#files", [HORSE])
        expect(page.locator(".said")).to_contain_text("horse")
        expect(row.locator("[aria-pressed=true]")).to_have_count(0)
        page.locator("#model").select_option("cifar10-msdnet-int8")
        expect(row).to_be_hidden()
        assert seen.errors == []


def test_an_image_may_be_dropped_or_pasted(chrome: Browser, url: str) -> None:
    with watched(chrome, url) as seen:
        expect(seen.page.locator(".lead")).to_be_visible()
        drop(seen.page, HORSE)
        expect(seen.page.locator(".said")).to_contain_text("horse")
        with seen.page.expect_response(lambda answer: "/classify" in answer.url) as pasted:
            paste(seen.page, DEER)
        expect(seen.page.locator(".said")).to_contain_text(pasted.value.json()["class_name"])
        assert seen.errors == []


def test_what_is_no_image_is_said_in_words(chrome: Browser, url: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(HORSE.read_bytes()[:200])
    with watched(chrome, url) as seen:
        seen.page.set_input_files("#files", [broken])
        expect(seen.page.locator("#problem")).to_contain_text("truncated or broken")


def test_every_exit_says_its_class_and_its_score_beside_its_threshold(chrome: Browser, url: str) -> None:
    with watched(chrome, url) as seen:
        page = seen.page
        page.set_input_files("#files", [HORSE])
        rows = page.locator("#view-try tbody tr")
        expect(rows.first.locator(".class")).not_to_be_empty()
        expect(page.locator("#view-try tbody .class")).to_have_count(rows.count())
        expect(rows.first.locator("td.number").first).to_have_text(
            re.compile(r"^0\.\d{3} [<≥] 0\.\d{3}$|^nobody$")
        )
        assert seen.errors == []


def test_live_shows_traffic_and_asks_for_no_more_than_is_new(chrome: Browser, url: str) -> None:
    with watched(chrome, f"{url}/#live") as seen:
        page = seen.page
        expect(page.locator("#view-live .uplot")).to_have_count(4)
        classify(url, HORSE, 5)
        with page.expect_response(lambda answer: "/live?since=" in answer.url) as news:
            pass
        assert int(news.value.url.rpartition("=")[2]) > 0
        expect(page.locator(".tiles dd").first).not_to_have_text("0")
        row = page.get_by_role("region", name="Versions").locator("tbody tr")
        expect(row.locator("th")).to_have_text("cifar10-resnet9-int8")
        expect(row.locator("td").first).to_have_text("shadow")
        page.locator('nav a[data-view="plan"]').click()
        expect(page.locator("#view-plan .uplot")).to_have_count(3)
        assert seen.errors == []


def test_the_gallery_shows_what_left_where_and_is_sound(chrome: Browser, tmp_path: Path) -> None:
    one = ROOT / "exported_models" / "cifar10-ladder-int8"
    flags = ("--threads", "1", "--keep-recent", "2", "--allow-admin")
    with (
        running_server(one, tmp_path / "log", *flags) as address,
        watched(chrome, f"{address}/#gallery") as seen,
    ):
        expect(seen.page.locator("#view-gallery .card").first).to_contain_text("Nothing left here yet")
        classify(address, HORSE, 3)
        expect(seen.page.locator("#view-gallery img").first).to_be_visible()
        shown = [
            image["class_name"]
            for exit_ in httpx.get(f"{address}/models/{one.name}/recent").json()["exits"]
            for image in exit_["images"]
        ]
        assert 1 <= len(shown) <= 3
        assert set(shown) == {"horse"}
        seen.page.evaluate(AXE.read_text())
        found = seen.page.evaluate("axe.run().then(found => found.violations)")
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
        assert seen.errors == []


def test_without_recent_images_there_is_no_gallery(chrome: Browser, url: str) -> None:
    with watched(chrome, f"{url}/#gallery") as seen:
        expect(seen.page.locator("#view-try")).to_be_visible()
        expect(seen.page.locator('nav a[data-view="gallery"]')).to_be_hidden()
        assert seen.errors == []


def test_models_that_come_and_go_are_noticed(chrome: Browser, tmp_path: Path) -> None:
    for name in ("one", "two"):
        tiny_bundle(tmp_path / "models" / name)
    flags = ("--threads", "1", "--allow-admin", "--default-model", "one")
    with (
        running_server(tmp_path / "models", tmp_path / "log", *flags) as address,
        watched(chrome, address) as seen,
    ):
        page = seen.page
        expect(page.locator("#model option")).to_have_text(["one", "two"])
        expect(page.locator("#status")).to_have_text("ok")
        httpx.post(f"{address}/v2/repository/models/one/unload", timeout=60).raise_for_status()
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # as when one comes back to it
        expect(page.locator("#model option")).to_have_text(["two"])
        expect(page.locator(".result .note")).to_contain_text("two has 3 exits")
        assert seen.errors == []


def test_a_key_is_asked_for_once_and_kept_in_the_tab(chrome: Browser, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"ann:normal:{hashlib.sha256(b'secret').hexdigest()}\n")
    one = ROOT / "exported_models" / "cifar10-msdnet-int8"
    with (
        running_server(one, tmp_path / "log", "--threads", "1", "--api-keys-file", str(keys)) as address,
        watched(chrome, address) as seen,
    ):
        page = seen.page
        for key, told in (("wrong", "does not know this key"), ("secret", "")):
            page.get_by_label("Key", exact=True).fill(key)
            page.get_by_label("Key", exact=True).press("Enter")
            if told:
                expect(page.locator("#key-refused")).to_contain_text(told)
        expect(page.locator("#model")).to_have_value("cifar10-msdnet-int8")
        page.reload()
        expect(page.locator("#model")).to_have_value("cifar10-msdnet-int8")
        assert page.evaluate("sessionStorage.getItem('offramp-key')") == "secret"
        assert "secret" not in json.dumps(page.evaluate("Object.entries(localStorage)"))


def test_it_works_with_the_keyboard_alone(chrome: Browser, url: str) -> None:
    with watched(chrome, url) as seen:
        page = seen.page
        expect(page.locator(".lead")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        for _ in range(3):
            page.keyboard.press("Tab")
        expect(page.locator('nav a[data-view="plan"]')).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#view-plan .verdict")).to_contain_text("images a second on")
