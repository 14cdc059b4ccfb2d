"""What every process is made of: the file of captured images, where one is asked for and can be used."""

from pathlib import Path

import pytest

from serving.capture.capture import Capture, CapturedImage
from serving.capture.store import FILE
from serving.processes.parts import capture_store, capture_to
from serving.settings import Settings
from serving.telemetry.logs import get_logger
from serving.telemetry.metrics import Metrics
from tests.bundles import tiny_images


def test_nothing_is_captured_unless_it_is_asked_for(tmp_path: Path) -> None:
    settings, metrics = Settings(state_dir=tmp_path / "state"), Metrics()
    with capture_store(settings, metrics, get_logger()) as store:
        assert store is None
        assert capture_to(settings, store) is None
    assert "captured" not in metrics.text().decode()
    assert not (tmp_path / "state").exists()


def test_captured_images_are_counted_and_the_log_says_where_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings, metrics = Settings(state_dir=tmp_path, capture=10), Metrics()
    with capture_store(settings, metrics, get_logger()) as store:
        assert store is not None
        assert isinstance(capture_to(settings, store), Capture)
        store.keep(CapturedImage(0.5, "b", "pets", None, 0, tiny_images(1)[0]))
        store.label("b", [])  # which writes
        assert 'offramp_captured_images{model="pets"} 1.0' in metrics.text().decode()
    assert "capturing" in caplog.text
    assert str(tmp_path) in caplog.text


def test_a_file_that_cannot_be_used_is_named_and_serving_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_text("no database" * 100)
    settings = Settings(state_dir=tmp_path, capture=10)
    with capture_store(settings, Metrics(), get_logger()) as store:
        assert store is None
    assert "capture_unusable" in caplog.text
    assert FILE in caplog.text
