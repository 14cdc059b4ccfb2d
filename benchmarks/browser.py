"""A browser on the console, for its pictures and its tests: Chromium as it is on this machine, offline."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

_PATIENCE_MS = 60_000
"""How long a page may take to show something: other work may share the machine."""
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}


def chromium() -> str | None:
    """Return where Chromium is: OFFRAMP_CHROMIUM, or on the PATH; None where there is none."""
    return os.environ.get("OFFRAMP_CHROMIUM") or shutil.which("chromium")


@dataclass
class Watched:
    """A page, and what should not have happened on it.

    Attributes:
        page: the page.
        errors: messages to the console at level error, and uncaught exceptions.
        foreign: requests to other places than the server.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium, with a profile of its own that is gone afterwards.

    Raises:
        FileNotFoundError: there is none.
    """
    program = chromium()
    if program is None:
        raise FileNotFoundError("expected chromium on the PATH, or OFFRAMP_CHROMIUM to name it")
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            yield started
        finally:
            started.close()


@contextmanager
def watched(
    started: Browser, url: str, size: str = "desktop", scheme: Literal["light", "dark"] = "light"
) -> Iterator[Watched]:
    """Open a page of a server, and watch over what it does.

    Args:
        started: the browser.
        url: of the page.
        size: of the window, one of `SIZES`.
        scheme: whether the reader likes it light or dark.
    """
    width, height = SIZES[size]
    profile = started.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        device_scale_factor=2 if size == "phone" else 1,
        reduced_motion="reduce",
    )
    page = profile.new_page()
    found, home = Watched(page), urlsplit(url).netloc
    page.on("console", lambda said: found.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("request", lambda asked: found.foreign.append(asked.url) if _leaves(asked.url, home) else None)
    try:
        page.goto(url)
        yield found
    finally:
        profile.close()


_TRANSFER = """bytes => {
  const carried = new DataTransfer();
  carried.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
  return carried;
}"""


def drop(page: Page, picture: Path) -> None:
    """Let go of an image over the console's place for them, as from a folder on the screen."""
    carried = page.evaluate_handle(_TRANSFER, list(picture.read_bytes()))
    page.dispatch_event(".drop-zone", "drop", {"dataTransfer": carried})


def paste(page: Page, picture: Path) -> None:
    """Paste an image into a page."""
    page.evaluate(
        f"""bytes => document.body.dispatchEvent(
          new ClipboardEvent("paste", {{ clipboardData: ({_TRANSFER})(bytes), bubbles: true }}))""",
        list(picture.read_bytes()),
    )


def _leaves(url: str, home: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.netloc != home
