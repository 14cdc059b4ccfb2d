import json
import subprocess
import sys
from pathlib import Path

import pytest

from offramp.__main__ import COMMANDS
from serving.command_line import SettingsValueError
from serving.settings import Settings, read_settings, unknown_variables


def test_every_setting_is_a_flag_and_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--models", "m", "--port", "0", "--max-images=3", "--providers", "A, B", "--strict-providers"]
    settings = read_settings(flags)
    assert (settings.models, settings.port, settings.max_images) == ("m", 0, 3)
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


SERVICE = {
    "OFFRAMP_SERVICE_HOST": "10.0.0.1",
    "OFFRAMP_SERVICE_PORT": "8000",
    "OFFRAMP_SERVICE_PORT_HTTP": "8000",
    "OFFRAMP_PORT": "tcp://10.0.0.1:8000",
    "OFFRAMP_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "OFFRAMP_PORT_8000_TCP_PROTO": "tcp",
    "OFFRAMP_PORT_8000_TCP_PORT": "8000",
    "OFFRAMP_PORT_8000_TCP_ADDR": "10.0.0.1",
    "OFFRAMP_CANARY_SERVICE_HOST": "10.0.0.2",
    "OFFRAMP_CANARY_PORT": "udp://10.0.0.2:8000",
    "OFFRAMP_CANARY_PORT_8000_UDP_ADDR": "10.0.0.2",
}


def test_what_a_service_called_offramp_puts_into_every_pod_is_no_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SERVICE.items():
        monkeypatch.setenv(name, value)
    assert read_settings([]) == Settings()
    assert read_settings([]).port == 8000
    assert read_settings(["--port", "9"]).port == 9
    assert unknown_variables(SERVICE) == []
    monkeypatch.setenv("OFFRAMP_PORT", "9001")
    assert read_settings([]).port == 9001
    monkeypatch.setenv("OFFRAMP_PORT", "tcp")
    with pytest.raises(SettingsValueError, match="OFFRAMP_PORT"):
        read_settings([])


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_variable_or_flag_is_not_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for empty in ("", "  \n"):
        monkeypatch.setenv(f"OFFRAMP_{name.upper()}", empty)
        assert read_settings([]) == Settings()
    if Settings.model_fields[name].annotation is not bool:  # Such a flag takes no value.
        assert read_settings([f"--{name.replace('_', '-')}="]) == Settings()


def test_variables_of_other_commands_are_none_of_ours() -> None:
    for command in COMMANDS.keys() - {"serve"}:
        assert unknown_variables({f"OFFRAMP_{command.upper()}_OUT": "x"}) == []


def test_variables_that_are_no_settings_are_named() -> None:
    environment = {
        **SERVICE,
        "OFFRAMP_PROT": "1",
        "offramp_models": "m",
        "OFFRAMP_": "",
        "PATH": "",
        "OFFRAMPX": "",
        "OFFRAMP_ADMN_PORT": "9000",
        "OFFRAMP_WATCH_INTERVAL": "2",
        "OFFRAMP_WATCH_PORT": "8765",
    }
    slips = ["OFFRAMP_", "OFFRAMP_ADMN_PORT", "OFFRAMP_PROT", "OFFRAMP_WATCH_INTERVAL"]
    assert unknown_variables(environment) == slips


NUMBERS = sorted(
    name for name, field in Settings.model_fields.items() if field.annotation in (int, float, float | None)
)
EXTREMES = [
    "-1",
    "1e400",
    "1e300",
    "1" + "0" * 30,
    "9" * 5000,
    "-" + "9" * 30,
    "inf",
    "-inf",
    "nan",
    "0x10",
    " ",
    "\0",
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", EXTREMES)
def test_extreme_numbers_are_refused_with_a_short_message(name: str, value: str) -> None:
    with pytest.raises(SettingsValueError, match=f"--{name.replace('_', '-')}") as caught:
        read_settings([f"--{name.replace('_', '-')}={value}"])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["host", "models", "state_dir", "default_budget", "default_model"])
@pytest.mark.parametrize("value", ["a\0b", "x" * 5000])
def test_extreme_texts_are_refused_with_a_short_message(name: str, value: str) -> None:
    with pytest.raises(SettingsValueError, match=f"--{name.replace('_', '-')}") as caught:
        read_settings([f"--{name.replace('_', '-')}={value}"])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("host", ["a" * 64 + ".example", ".."])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(SettingsValueError, match="--host"):
        read_settings(["--host", host])


@pytest.mark.parametrize("value", ["0", "256", "two", "1.5", "-1", "٣"])
def test_a_number_of_processes_that_is_none_is_refused_with_what_was_expected(value: str) -> None:
    with pytest.raises(SettingsValueError, match="--processes: expected a number from 1 to 255, or auto"):
        read_settings([f"--processes={value}"])


@pytest.mark.parametrize("value", ["-1", "1025", "two", "1.5", "٣", "9" * 5000])
def test_a_number_of_decoding_threads_that_is_none_is_refused_with_what_was_expected(value: str) -> None:
    with pytest.raises(
        SettingsValueError, match=r"--decode-threads: expected a number from 0 to 1024, or auto|4096"
    ) as caught:
        read_settings([f"--decode-threads={value}"])
    assert len(str(caught.value)) < 500


def test_decoding_threads_are_a_number_or_left_to_the_server() -> None:
    found = [read_settings(["--decode-threads", value]).decode_threads for value in ("0", "12", "auto")]
    assert found == [0, 12, "auto"]
    assert read_settings([]).decode_threads == "auto"


def test_processes_are_a_number_or_left_to_the_machine() -> None:
    found = [read_settings(["--processes", value]).process_count for value in ("2", "auto")]
    assert found == [2, None]
    assert read_settings([]).process_count == 1


def test_capturing_needs_a_place() -> None:
    with pytest.raises(SettingsValueError, match="--capture keeps images in --state-dir: give that, too"):
        read_settings(["--capture", "100"])
    settings = read_settings(["--capture", "100", "--state-dir", "state", "--capture-bytes", "256MB"])
    assert (settings.capture, settings.capture_bytes) == (100, 256_000_000)
    assert Settings().capture == 0
