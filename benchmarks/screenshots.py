"""Take pictures of the console under real traffic, for the documentation.

    python -m benchmarks.screenshots --dataset cifar10 --out docs/images

Serves the bundle, sends it the data set's test images under several budgets for a while, and takes each view
as a person would see it. Wants Chromium on the PATH, or named by OFFRAMP_CHROMIUM.
"""

import argparse
import io
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Browser

from benchmarks.browser import browser, watched
from training.data.source import load_source
from training.demo.server import running_server

_SHOTS: Sequence[tuple[str, str, Literal["light", "dark"]]] = (
    ("try", "desktop", "light"),
    ("try", "phone", "dark"),
    ("plan", "desktop", "light"),
    ("live", "desktop", "dark"),
    ("gallery", "desktop", "light"),
)
_BUDGETS = ("25%", "40%", "40%", "60%")
_CALLERS = 3
_PAUSE_SECONDS = 0.03


def main() -> None:
    """Serve, send, take the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=Path("exported_models"), help="a folder of bundles")
    parser.add_argument("--default-model", default="cifar10-ladder-int8", help="the one that is shown")
    parser.add_argument("--dataset", default="cifar10", help="whose test images are sent")
    parser.add_argument("--seconds", type=float, default=90, help="of traffic before the pictures are taken")
    parser.add_argument("--sample", type=int, default=3, help="which of the model's samples is tried")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="the folder of the pictures")
    chosen = parser.parse_args()
    images = _pngs(chosen.dataset)
    flags = (
        *("--default-model", chosen.default_model, "--sample-share", "0.1", "--drift-window-images", "500"),
        *("--keep-recent", "12", "--allow-admin"),
    )
    over = threading.Event()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(chosen.models, Path(folder) / "log", *flags, start_seconds=300) as url,
        ThreadPoolExecutor(_CALLERS) as callers,
        browser() as started,
    ):
        for seed in range(_CALLERS):
            callers.submit(_send, url, images, seed, over)
        try:
            over.wait(chosen.seconds)
            for view, size, scheme in _SHOTS:
                path = chosen.out / f"console-{view}{'-phone' if size == 'phone' else ''}.png"
                _take(started, f"{url}/#{view}", size, scheme, chosen.sample, path)
                print(f"{path}: {path.stat().st_size:,} bytes")
        finally:
            over.set()


def _pngs(dataset: str) -> list[bytes]:
    """Return the first thousand test images of a data set as PNG files."""
    part = load_source(dataset).parts["test"]
    found = []
    for row in range(min(1000, len(part.labels))):
        stored = part.images[row]["image"]
        with (
            Image.open(io.BytesIO(stored["bytes"] or Path(stored["path"]).read_bytes())) as image,
            io.BytesIO() as file,
        ):
            image.convert("RGB").save(file, "PNG")
            found.append(file.getvalue())
    return found


def _send(url: str, images: Sequence[bytes], seed: int, over: threading.Event) -> None:
    random = np.random.default_rng(seed)
    with httpx.Client(base_url=url, timeout=60) as client:
        while not over.wait(_PAUSE_SECONDS * random.exponential()):
            image = images[int(random.integers(len(images)))]
            budget = _BUDGETS[int(random.integers(len(_BUDGETS)))]
            client.post(
                "/classify", params={"budget": budget}, content=image, headers={"Content-Type": "image/png"}
            )


def _take(
    started: Browser, url: str, size: str, scheme: Literal["light", "dark"], sample: int, path: Path
) -> None:
    with watched(started, url, size, scheme) as seen:
        page = seen.page
        if "#try" in url:
            page.locator(".samples .thumb").nth(sample - 1).click()
            page.locator(".way").wait_for()
        elif "#gallery" in url:
            page.locator("#view-gallery img").last.wait_for()
        else:
            page.locator("section:not([hidden]) .uplot").last.wait_for()
        page.wait_for_timeout(2500)  # until charts have the news
        _shrink(page.screenshot(full_page=True), path)
        if seen.errors or seen.foreign:
            raise SystemExit(f"{url}: {seen.errors + seen.foreign}")


def _shrink(png: bytes, path: Path) -> None:
    """Keep a picture without its transparency, packed as well as PNG can."""
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()
