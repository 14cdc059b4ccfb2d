"""One command line for all commands: fields as flags, where a value may stand, and how a mistake reads."""

import ast
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest
from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import CliPositionalArg

from serving import command_line
from serving.command_line import EXTRAS, SettingsValueError, given, program, read, run
from serving.errors import OfframpError
from serving.settings import Settings
from training.config import FitConfig

ROOT = Path(__file__).parents[2]


class Shape(BaseModel):
    """What a base declares is a group of its own."""

    model_config = ConfigDict(title="shape", frozen=True, extra="forbid")

    batch_size: int = Field(4, ge=2, description="images, 100% of them")
    kind: Literal["a", "b"] = Field("a", description="which kind")


class Arguments(Shape):
    """Do a thing.

    The second paragraph is for readers of the code.
    """

    run: CliPositionalArg[Path] = Field(description="run folder", title="RUN|BUNDLE")
    names: tuple[str, ...] = ()
    exits: tuple[int, ...] | None = None
    option: dict[str, str] = {}
    on: bool = False
    out: Path | None = None


def line(*words: str) -> Arguments:
    return read(Arguments, "fit", words)


def complaint(*words: str) -> str:
    with pytest.raises(SettingsValueError) as caught:
        line(*words)
    return str(caught.value)


def test_every_field_is_an_argument() -> None:
    words = "here --batch-size 8 --names x 1 y,z --option a=1 b=2=3 --on --exits 1 2 --out there"

    assert line(*shlex.split(words)) == Arguments(
        run=Path("here"),
        batch_size=8,
        names=("x", "1", "y,z"),
        option={"a": "1", "b": "2=3"},
        on=True,
        exits=(1, 2),
        out=Path("there"),
    )


def test_a_list_may_be_given_in_parts_and_a_switch_turned_off() -> None:
    assert line("r", "--names", "x", "--names", "y", "--no-on").names == ("x", "y")


@pytest.mark.parametrize("text", ["1e3", "null", "true", "[x", '"', "a\\b", "None,"])
def test_a_word_of_a_list_or_an_option_is_left_as_it_is(text: str) -> None:
    found = line("r", "--names", text, "--option", f"key={text}")
    assert (found.names, found.option) == ((text,), {"key": text})


def test_a_value_that_was_not_given_is_absent() -> None:
    assert given(Arguments, "fit", ["--kind", "b"]).values == {"kind": "b"}


def test_a_flag_wins_over_a_variable_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.toml"
    file.write_text('run = "r"\nbatch-size = 3\nkind = "b"\nnames = ["x"]\nout = "there"\n')
    monkeypatch.setenv("OFFRAMP_FIT_BATCH_SIZE", "5")
    monkeypatch.setenv("OFFRAMP_FIT_NAMES", "y z")

    found = line("--config", str(file), "--batch-size", "7")

    assert found == Arguments(run=Path("r"), batch_size=7, kind="b", names=("y", "z"), out=Path("there"))


def test_variables_hold_lists_and_options_as_words_or_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFRAMP_FIT_OPTION", "a=1 'b=two words'")
    monkeypatch.setenv("OFFRAMP_FIT_NAMES", '["x", "y z"]')
    monkeypatch.setenv("OFFRAMP_FIT_EXITS", "")  # an empty one is not given

    found = line("r")

    assert found.option == {"a": "1", "b": "two words"}
    assert found.names == ("x", "y z")
    assert found.exits is None


def test_a_variable_without_the_prefix_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_SIZE", "5")
    monkeypatch.setenv("RUN", "elsewhere")
    assert line("r") == Arguments(run=Path("r"))


def test_a_file_may_have_a_table_for_each_command(tmp_path: Path) -> None:
    file = tmp_path / "project.toml"
    file.write_text("[serve]\nport = 1\n[fit]\nbatch_size = 3\n[fit.option]\na = 4\nb = [1, 2]\nc = true\n")

    found = line("r", "--config", str(file))

    assert found.batch_size == 3
    assert found.option == {"a": "4", "b": "1,2", "c": "true"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("r", "--batch-size", "1"), "--batch-size: Input should be greater than or equal to 2; found '1'"),
        (("r", "--kind", "c"), "--kind: Input should be 'a' or 'b'; found 'c'"),
        ((), "RUN|BUNDLE: required, and not given"),
        (("r", "--option", "x"), "--option: expected key=value, found 'x'"),
        (("r", "--nope"), "unrecognized arguments: --nope; see offramp fit --help"),
        (("r", "--out"), "argument --out: expected one argument; see offramp fit --help"),
        (("r", "--config", "nowhere.toml"), "--config nowhere.toml: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], says: str) -> None:
    assert complaint(*words) == says


def test_every_mistake_is_named_by_the_place_where_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.toml"
    file.write_text('kind = "c"\n')
    monkeypatch.setenv("OFFRAMP_FIT_BATCH_SIZE", "1")

    assert complaint("r", "--config", str(file), "--on=maybe").splitlines() == [
        "argument --on/--no-on: ignored explicit argument 'maybe'; see offramp fit --help"
    ]
    assert complaint("r", "--config", str(file)).splitlines() == [
        "OFFRAMP_FIT_BATCH_SIZE: Input should be greater than or equal to 2; found '1'",
        f"{file}: kind: Input should be 'a' or 'b'; found 'c'",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("batch-siz = 1", "batch-siz: no such argument of offramp fit; did you mean batch_size?"),
        ("xyz = 1", "xyz: no such argument of offramp fit; known: batch_size, kind, run, "),
        ("fit = 1", "expected a table [fit], found 1"),
        ("batch_size", "expected TOML; Expected '=' after a key"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    said = complaint("r", "--config", str(file))
    assert str(file) in said
    assert says in said


def test_help_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        line("--help")
    text = capsys.readouterr().out

    assert ended.value.code == 0
    assert text.startswith("usage: offramp fit RUN|BUNDLE [--flag VALUE ...]\n\nDo a thing.\n\n")
    assert "--batch-size SIZE" in text
    assert "images, 100% of them (default: 4)" in text
    assert "--kind {a,b}" in text
    assert "--option KEY=VALUE" in text
    assert "\nshape:\n" in text
    assert "OFFRAMP_FIT_" in text
    assert "None" not in text


def test_each_problem_is_a_line_of_its_own_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        line("--kind", "c", "--batch-size", "x")

    assert run(command) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [text.partition(": ")[0] for text in lines] == ["error"] * 3


def test_an_error_of_ours_is_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise OfframpError("expected this, found that: do so")

    assert run(command) == 2
    assert capsys.readouterr().err == "error: expected this, found that: do so\n"


def test_the_status_of_a_command_is_passed_on_and_an_interrupt_is_130() -> None:
    def command() -> None:
        raise KeyboardInterrupt

    assert run(lambda: 1) == 1
    assert run(lambda: None) == 0
    assert run(command) == 130


def test_a_missing_extra_is_named_with_the_line_that_installs_it(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    assert run(command) == 2
    assert capsys.readouterr().err == "error: torch is not installed: pip install 'offramp[training]'\n"


def test_a_missing_module_that_no_extra_brings_is_a_fault_of_ours() -> None:
    def command() -> None:
        raise ModuleNotFoundError("No module named 'nope'", name="nope")

    with pytest.raises(ModuleNotFoundError):
        run(command)


def test_every_package_that_training_imports_beyond_the_servers_has_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    servers = {Requirement(text).name.replace("-", "_") for text in project["dependencies"]}
    servers |= {"PIL", "onnxruntime", "google"}  # their import names; protobuf comes with onnx
    trees = [ast.parse(path.read_text()) for path in (ROOT / "training").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - servers

    assert foreign - {"serving", "training"} <= EXTRAS.keys()


@pytest.mark.parametrize(
    ("started", "serve", "fit"),
    [
        (None, "offramp serve", "offramp fit"),
        ("offramp.__main__", "offramp serve", "offramp fit"),
        ("serving.__main__", "python -m serving", "python -m training.fit"),
        ("training.export", "python -m serving", "python -m training.fit"),
    ],
)
def test_commands_are_named_as_this_one_was_started(
    started: str | None, serve: str, fit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    main.__spec__ = None if started is None else type(sys.__spec__)(started, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert (program("serve"), program("fit")) == (serve, fit)


def test_flags_of_fields() -> None:
    assert command_line.flag("batch_size") == "--batch-size"


def test_the_file_of_the_documentation_is_read_by_both_commands(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    file = tmp_path / "project.toml"
    file.write_text(page.partition("```toml\n")[2].partition("```")[0])

    settings = read(Settings, "serve", ["--config", str(file)])
    config = given(FitConfig, "fit", ["--config", str(file)]).read(FitConfig)

    assert (settings.models, settings.default_budget) == ("exported_models", "50%")
    assert (config.dataset, config.model, config.model_option) == ("cifar10", "msdnet-small", {"blocks": "4"})


def test_a_field_goes_by_its_alias_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Aliased(BaseModel):
        as_json: bool = Field(False, alias="json")

    assert read(Aliased, "check", ["--json"]).as_json
    monkeypatch.setenv("JSON", "maybe")
    monkeypatch.setenv("OFFRAMP_CHECK_JSON", "yes")
    assert read(Aliased, "check", []).as_json


@pytest.mark.parametrize(("processes", "expected"), [("1", "ended by the interpreter\n"), ("2", "")])
def test_one_of_several_processes_leaves_without_the_interpreter_s_end(processes: str, expected: str) -> None:
    program = """
import atexit
from serving.command_line import leave
atexit.register(print, "ended by the interpreter")
leave(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "WORLD_SIZE": processes},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, expected)


class Numbers(BaseModel):
    """Numbers without limits of their own."""

    seed: int = Field(0, description="a seed")
    seeds: tuple[int, ...] = Field((), description="several")
    lr: float = Field(0.1, description="a rate")


@pytest.mark.parametrize(
    "words",
    [
        ["--seed", str(2**63)],
        ["--seed", str(-(10**30))],
        ["--seeds", "1", "9" * 40],
        ["--lr", "inf"],
        ["--lr", "nan"],
        ["--lr", "1e400"],
    ],
)
def test_numbers_that_no_library_takes_are_refused_by_every_command(words: list[str]) -> None:
    with pytest.raises(SettingsValueError, match=rf"{words[0]}: expected a finite number under 2\^63"):
        read(Numbers, "numbers", words)
    assert read(Numbers, "numbers", ["--seed", str(2**63 - 1), "--lr", "1e300"]).seed == 2**63 - 1
