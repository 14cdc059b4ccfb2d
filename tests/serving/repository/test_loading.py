from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from serving.command_line import SettingsValueError
from serving.errors import BundleError, TermsError
from serving.repository import loading
from serving.repository.live import LiveModels
from serving.repository.loading import load_models, models_places
from serving.repository.opener import Opener, OpenLimits
from serving.settings import Settings
from tests.bundles import tiny_manifest
from tests.serving.repository.fakes import Fake


def load(folder: Path, name: str, number: str) -> Fake:
    if name == "bad":
        raise BundleError("bundle 'bad': no segments")
    return Fake(name, tiny_manifest())


def start(settings: Settings, open_model: Callable[[Path, str, str], Fake] = load) -> LiveModels[Fake]:
    live: LiveModels[Fake] = LiveModels()
    logger = structlog.get_logger()
    opener = Opener(open_model, OpenLimits(), logger, lambda event: None)
    load_models(settings, models_places(settings, logger), live, opener, logger)
    return live


def models_folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").touch()
    return tmp_path


def test_a_bad_bundle_is_refused_by_name_and_the_others_load(tmp_path: Path) -> None:
    folder = models_folder(tmp_path, "one", "bad", "two", ".draft")
    with capture_logs() as lines:
        models = start(Settings(models=folder))
    assert sorted(models) == ["one", "two"]
    refused = [line for line in lines if line["event"] == "bundle_refused"]
    assert [(line["bundle"], line["reason"], line["log_level"]) for line in refused] == [
        ("bad", "bundle 'bad': no segments", "error")
    ]


def test_what_a_bundle_runs_on_is_said_and_so_is_what_was_not_got(tmp_path: Path) -> None:
    def fall_back(folder: Path, name: str, number: str) -> Fake:
        missing = ("CUDAExecutionProvider",) if name == "two" else ()
        return Fake(name, tiny_manifest(), missing_providers=missing)

    with capture_logs() as lines:
        start(Settings(models=models_folder(tmp_path, "one", "two")), fall_back)
    runs_on = {"providers": ("CPUExecutionProvider",), "features": "host"}
    computes = {"runtime": "onnxruntime", "inference_precision": "float32"}
    assert [line["bundle"] for line in lines if line["event"] == "bundle_loading"] == ["one", "two"]
    assert [line for line in lines if line["event"] != "bundle_loading"] == [
        {"event": "bundle_loaded", "log_level": "info", "bundle": "one", **runs_on, **computes},
        {"event": "bundle_loaded", "log_level": "info", "bundle": "two", **runs_on, **computes},
        {
            "event": "providers_missing",
            "log_level": "warning",
            "bundle": "two",
            "missing": ("CUDAExecutionProvider",),
            **runs_on,
        },
    ]


def test_the_folder_may_be_one_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models_folder(tmp_path, "one") / "one")
    assert list(start(Settings(models=Path()))) == ["one"]


def test_a_bundle_keeps_the_name_that_it_is_linked_under(tmp_path: Path) -> None:
    (models_folder(tmp_path, "..2026_11_25") / "pets").symlink_to("..2026_11_25")
    settings = Settings(models=tmp_path / "pets")
    assert list(start(settings)) == ["pets"]


@pytest.mark.parametrize("missing", [True, False])
def test_nothing_to_load_says_how_to_make_something(missing: bool, tmp_path: Path) -> None:
    settings = Settings(models=tmp_path / "none" if missing else tmp_path)
    with pytest.raises(BundleError, match="offramp demo"):
        start(settings)


def test_nothing_but_bad_bundles_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="none of the 1 bundles can be loaded: bad"):
        start(Settings(models=models_folder(tmp_path, "bad")))


@pytest.mark.parametrize(
    ("default", "names"),
    [
        ({"default_model": "other"}, "--default-model 'other' .* expected one of one"),
        ({"default_budget": "99"}, "--default-budget does not fit one: .*exit 1 costs 1,?000"),
        ({"default_budget": "9 MB"}, "--default-budget does not fit one: unknown unit"),
    ],
)
def test_defaults_must_fit_what_was_loaded(default: dict[str, str], names: str, tmp_path: Path) -> None:
    settings = Settings.model_validate({"models": models_folder(tmp_path, "one"), **default})
    with pytest.raises(SettingsValueError, match=names):
        start(settings)


def test_a_default_that_a_bundle_cannot_keep_is_a_setting_that_does_not_fit(tmp_path: Path) -> None:
    def refuse(folder: Path, name: str, number: str) -> Fake:
        raise TermsError("max_drop needs at least 300 certifying images")

    settings = Settings(models=models_folder(tmp_path, "one"))
    with pytest.raises(
        SettingsValueError, match=r"--guarantee-delta does not fit one: .* 300 certifying images"
    ):
        start(settings, refuse)


def test_the_samples_of_the_wheel_load_where_nobody_named_a_folder_and_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "samples").mkdir()
    monkeypatch.setattr(loading, "SAMPLES", models_folder(tmp_path / "samples", "sample"))
    monkeypatch.chdir(tmp_path)
    with capture_logs() as lines:
        assert list(start(Settings())) == ["sample"]
    assert lines[0]["event"] == "sample_bundles"


def test_the_samples_are_no_stand_in_for_a_folder_that_was_named_or_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "samples").mkdir()
    monkeypatch.setattr(loading, "SAMPLES", models_folder(tmp_path / "samples", "sample"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="no bundle in 'exported_models'"):
        start(Settings(models=Path("exported_models")))
    (tmp_path / "exported_models").mkdir()
    with pytest.raises(BundleError, match="no bundle in 'exported_models'"):
        start(Settings())
