"""The file of captured images: a sample that survives, within its bounds, and no file that stops a server."""

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serving.capture.capture import CapturedImage
from serving.capture.store import FILE, MOST_BUNDLES, CaptureStore
from serving.telemetry.logs import get_logger
from tests.bundles import tiny_images

PIXELS = tiny_images(1)[0]


def image(key: float, bundle: str = "b", request: str | None = "0-ab-1", place: int = 0) -> CapturedImage:
    return CapturedImage(key, bundle, f"model of {bundle}", request, place, PIXELS)


def opened(
    folder: Path, most_images: int = 3, most_bytes: int = 10**6, clock: Callable[[], float] = lambda: 1.0
) -> CaptureStore:
    return CaptureStore(
        folder, most_images=most_images, most_bytes=most_bytes, logger=get_logger(), clock=clock
    )


def rows(folder: Path, columns: str = "key") -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / FILE) as database:
        found = database.execute(f"SELECT {columns} FROM captured ORDER BY key").fetchall()  # noqa: S608
    database.close()
    return found


def test_the_smallest_keys_are_kept_over_a_restart(tmp_path: Path) -> None:
    for keys in ((0.5, 0.1, 0.9), (0.2, 0.95)):
        store = opened(tmp_path / "state")
        for key in keys:
            store.keep(image(key))
        store.close()
    store = opened(tmp_path / "state")
    assert sorted(store.keys("b")) == [0.1, 0.2, 0.5]
    assert store.keys("other") == []
    assert store.counts() == {"model of b": 3}
    store.close()
    ((height, width, pixels), *_) = rows(tmp_path / "state", "height, width, pixels")
    assert (height, width) == PIXELS.shape[:2]
    assert pixels == PIXELS.tobytes()


def test_bytes_bound_a_sample(tmp_path: Path) -> None:
    store = opened(tmp_path, most_images=100, most_bytes=2 * PIXELS.nbytes)
    for key in np.linspace(0.9, 0.1, 9):
        store.keep(image(float(key)))
    store.close()
    assert len(rows(tmp_path)) == 2


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    opened(tmp_path).close()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_pixels_that_were_let_go_are_gone_from_the_file(tmp_path: Path) -> None:
    store = opened(tmp_path, most_images=1)
    for key in (0.5, 0.1):
        secret = np.frombuffer(f"{'secret' if key == 0.5 else 'public'}{'.' * 186}".encode(), np.uint8)
        store.keep(CapturedImage(key, "b", "m", None, 0, secret.reshape(8, 8, 3)))
        store.label("b", [])  # which writes
    store.close()
    assert b"public" in (tmp_path / FILE).read_bytes()
    assert b"secret" not in (tmp_path / FILE).read_bytes()


def test_labels_come_to_their_images_the_last_one_stands(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.keep(image(0.1))
    store.keep(image(0.2, place=1))
    store.keep(image(0.3, request=None))
    store.label("b", [("0-ab-1", 0, 2), ("0-ab-1", 1, 3), ("0-ab-9", 0, 1), ("0-ab-1", 0, 1)])
    store.label("other", [("0-ab-1", 1, 0)])
    store.close()
    assert rows(tmp_path, "key, label") == [(0.1, 1), (0.2, 3), (0.3, None)]


def test_the_bundle_that_captured_nothing_for_longest_makes_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    store = opened(tmp_path, 10, clock=lambda: now)
    for number in range(MOST_BUNDLES + 1):
        now += 1
        store.keep(image(0.1 + number / 100, bundle=str(number)))
    store.close()
    assert {bundle for (bundle,) in rows(tmp_path, "bundle")} == {str(n) for n in range(1, MOST_BUNDLES + 1)}
    assert "captured_discarded" in caplog.text
    assert "model of 0" in caplog.text


def test_what_cannot_be_written_is_logged_and_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = opened(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("ALTER TABLE captured RENAME TO away")
    store.keep(image(0.1))
    store.label("b", [])
    assert "captured_not_written" in caplog.text
    assert list(store.keys("b")) == []
    with database:
        database.execute("ALTER TABLE away RENAME TO captured")
    database.close()
    store.close()
    assert rows(tmp_path) == [(0.1,)]


def test_no_file_stops_a_request(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.executescript(
            "DROP TABLE captured; CREATE TABLE captured (key, bundle, model, request, image, at, label);"
            "INSERT INTO captured (key, bundle, model) VALUES ('a', 'b', NULL), (0.5, 'b', 7), (NULL, 'b', 8)"
        )
    database.close()
    store = opened(tmp_path)
    assert store.keys("b") == [0.5]
    store.keep(image(0.1))
    store.close()


def write_text(path: Path) -> None:
    path.write_text("no database" * 100)


def write_newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 2")
    database.close()


@pytest.mark.parametrize("make", [write_text, write_newer, os.mkfifo, Path.mkdir])
def test_a_file_that_is_none_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / FILE)
    with pytest.raises((OSError, sqlite3.Error)):
        opened(tmp_path)
