"""The one command: what it lists, how it fails, and what its commands load before they know what to do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import offramp
from offramp.__main__ import COMMANDS, main

HEAVY = {
    "onnxruntime",
    "torch",
    "torchvision",
    "datasets",
    "matplotlib",
    "scipy",
    "sklearn",
    "fastapi",
    "rich",
}


def command(*words: str, cwd: Path, options: tuple[str, ...] = ("-P",)) -> "subprocess.CompletedProcess[str]":
    started = [sys.executable, *options, "-m", "offramp", *words]
    return subprocess.run(started, cwd=cwd, capture_output=True, text=True)


def test_without_a_command_it_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = re.findall(r"^  (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    assert listed == list(COMMANDS)


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"offramp {offramp.__version__}\n")


@pytest.mark.parametrize(
    ("word", "hint"),
    [("exprot", "did you mean export?"), ("xyz", "`offramp --help` lists them")],
)
def test_an_unknown_command_is_one_line(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert capsys.readouterr().err == f"error: expected a command, found '{word}'; {hint}\n"
