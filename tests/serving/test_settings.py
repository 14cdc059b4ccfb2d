import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving.command_line import SettingsValueError
from serving.settings import Settings, read_settings


def test_every_setting_is_a_flag_and_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--models", "m", "--port", "0", "--max-images=3", "--providers", "A, B", "--strict-providers"]
    settings = read_settings(flags)
    assert (settings.models, settings.port, settings.max_images) == (Path("m"), 0, 3)
    assert (settings.providers, settings.strict_providers) == (("A", "B"), True)
    monkeypatch.setenv("OFFRAMP_MAX_IMAGES", "5")
    monkeypatch.setenv("OFFRAMP_PROVIDERS", "C")
    monkeypatch.setenv("OFFRAMP_UNRELATED", "ignored")
    assert (read_settings([]).max_images, read_settings([]).providers) == (5, ("C",))
    assert read_settings(flags).max_images == 3, "a flag wins over a variable"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_says_what_it_is(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--prot", "3"], "unrecognized arguments: --prot 3"),
        (["--max-im", "3"], "unrecognized arguments"),
        (["--port"], "--port: expected one argument"),
        (["--port", "x"], "--port: .*valid integer.*found 'x'"),
        (["--port", "70000"], "less than or equal to 65535"),
        (["--drain-seconds", "nan"], "finite number"),
        (["--log-format", "xml"], "'json' or 'console'"),
        (["--max-images", "0", "--threads", "-1"], "(?s)--max-images.*--threads"),
    ],
)
def test_a_wrong_flag_is_named(flags: list[str], names: str) -> None:
    with pytest.raises(SettingsValueError, match=names):
        read_settings(flags)


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFRAMP_MAX_BATCH", "many")
    with pytest.raises(SettingsValueError, match=r"OFFRAMP_MAX_BATCH.*found 'many'"):
        read_settings([])


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--prot", "3"], "unrecognized arguments"),
        (["--models", "nowhere"], "`python -m training.demo`"),
        (["--models", ".", "--host", "999.1.1.1", "--port", "0"], "cannot listen on 999.1.1.1"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(flags: list[str], names: str, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-m", "serving", *flags],
        cwd=tmp_path,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert names in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_help_lists_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(["--help"])
    assert ended.value.code == 0
    assert "--shutdown-timeout-seconds" in capsys.readouterr().out


def test_settings_can_be_written_down() -> None:
    assert json.loads(Settings().model_dump_json())["default_budget"] == "100%"
