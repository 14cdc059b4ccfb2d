"""The one command: what it lists, how it fails, and what its commands load before they know what to do."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import offramp
from offramp.__main__ import COMMANDS, main

HEAVY = {
    "numpy",
    "PIL",
    "onnx",
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


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_command_and_loads_nothing_heavy(name: str, tmp_path: Path) -> None:
    done = command(name, "--help", cwd=tmp_path, options=("-P", "-X", "importtime"))
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: offramp {name} ")
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_module_of_a_command_still_starts_by_itself(name: str, tmp_path: Path) -> None:
    module = COMMANDS[name].module.removesuffix(".__main__")
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, "--help"], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m {module} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistake_is_a_line_and_status_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--no-such-flag"]) == 2
    said = capsys.readouterr().err
    assert said == f"error: unrecognized arguments: --no-such-flag; see offramp {name} --help\n"


def test_commands_run_among_packages_of_the_same_names(tmp_path: Path) -> None:
    for package in ("serving", "training"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")

    # Without -P the folder comes first on the path.
    done = command("describe", "--model", "msdnet-tiny", "--json", cwd=tmp_path, options=())

    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["exits"]) == 3


def test_a_factory_in_the_current_folder_is_found_after_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('the wrong numpy')\n")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def small(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(4, num_classes))\n"
    )

    done = command("describe", "--model", "nets:small", "--exits", "0", "--json", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["exits"]) == 2


@pytest.mark.parametrize(
    ("shell", "flags"),
    [
        ("bash", ["--default-budget", "--max-minutes", "--config"]),
        ("zsh", ["--default-budget", "--max-minutes", "--config"]),
        ("tcsh", []),  # shtab completes commands there, not their flags
    ],
)
def test_completion_knows_every_command_and_its_flags(
    shell: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert [word for word in [*COMMANDS, *flags] if word not in script] == []


def test_bash_completes_a_flag_and_a_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not on the PATH")
    main(["--print-completion", "bash"])
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out)
    asked = f"""
        . {script}
        complete_words() {{
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            $(complete -p offramp | sed 's/.*-F \\([^ ]*\\).*/\\1/') offramp "${{@: -1}}" ""
            echo "${{COMPREPLY[@]}}"
        }}
        complete_words offramp exp
        complete_words offramp fit --max-m
        complete_words offramp serve --log-format ''
    """
    done = subprocess.run([bash, "-c", asked], capture_output=True, text=True)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["export"],
        ["--max-minutes"],
        ["json", "console"],
    ]
