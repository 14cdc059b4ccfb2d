"""The command line of every command, made from one pydantic model by pydantic-settings.

A field of the model is a flag: `batch_size` becomes `--batch-size`; `CliPositionalArg` makes it positional. A
list takes several words (`--exits a b c`), a dictionary words of the form `key=value`. A value that no flag
gives is read from a variable (`OFFRAMP_FIT_BATCH_SIZE`), then from the TOML file that `--config` names.
"""

import argparse
import json
import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from serving.errors import OfframpError

Arguments = TypeVar("Arguments", bound=BaseModel)

EXTRAS = dict.fromkeys(
    (
        *("datasets", "httpx", "matplotlib", "onnxscript", "pyarrow", "rich", "scipy", "sklearn"),
        *("tensorboard", "torch", "torchjd", "torchvision"),
    ),
    "training",
)
"""The extra of `offramp` that brings each package which the server does without."""

_MODULES = {"serve": "serving", "check": "serving.check"}
"""The module behind a command; a command that is not here is the module of that name in `training`."""


class SettingsValueError(OfframpError):
    """A flag, a variable or a file that cannot be used; the text has one line for each problem."""

    title = "unusable settings"


def run(command: Callable[[], int | None]) -> int:
    """Run `command` and return the exit status: its own, or 2 with a text on stderr for a user's mistake."""
    try:
        return command() or 0
    except SettingsValueError as error:
        _complain(*str(error).splitlines())
        return 2
    except OfframpError as error:
        _complain(str(error))
        return 2
    except ValidationError as error:
        _complain(*map(Given({}).problem, error.errors()))
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        _complain(f"{package} is not installed: pip install 'offramp[{EXTRAS[package]}]'")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def program(name: str) -> str:
    """Return a command in the form this process was started in: `offramp fit`, `python -m training.fit`."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    started = spec.name.partition(".")[0] if spec else ""
    if started in ("serving", "training"):
        return f"python -m {_MODULES.get(name, f'training.{name}')}"
    return f"offramp {name}"


def flag(name: str) -> str:
    """Return the flag of a field: `batch_size` becomes `--batch-size`."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True)
class Given:
    """The values that a command was given, not yet validated.

    Attributes:
        values: by field; a field that nobody gave is absent.
        places: where each value stands, in words for a message: a flag, a variable, or a key of a file.
    """

    values: Mapping[str, Any]
    places: Mapping[str, str] = field(default_factory=dict)

    def of(self, model: type[BaseModel]) -> dict[str, Any]:
        """Return the values of the fields of `model`."""
        return {name: value for name, value in self.values.items() if name in _fields(model)}

    def read(self, model: type[Arguments]) -> Arguments:
        """Validate the values of the fields of `model`.

        Raises:
            SettingsValueError: a value does not fit its field, or is missing.
        """
        try:
            return model.model_validate(self.of(model))
        except ValidationError as error:
            problems = (self.problem(problem) for problem in error.errors())
            raise SettingsValueError("\n".join(problems)) from error

    def problem(self, problem: ErrorDetails) -> str:
        """Return a problem of validation as a line: where the value stands, what was expected and found."""
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if not problem["loc"]:
            return message
        name = str(problem["loc"][0])
        place = self.places.get(name, flag(name))
        if problem["type"] == "missing":
            return f"{place}: required, and not given"
        return f"{place}: {message}; found {problem['input']!r}"


def read(arguments: type[Arguments], name: str, argv: Sequence[str] | None = None) -> Arguments:
    """Read a command's arguments; `--help` prints all of them and exits.

    Args:
        arguments: the model of the arguments.
        name: the command's, as in `offramp NAME`.
        argv: the words after the command's name; the process's own where None.

    Raises:
        SettingsValueError: an argument that does not exist, does not fit or is missing.
    """
    return given(arguments, name, argv).read(arguments)


def given(arguments: type[BaseModel], name: str, argv: Sequence[str] | None = None) -> Given:
    """Gather the values of flags, variables and the file of `--config`; the first that gives one wins.

    Args:
        arguments: the model of the arguments.
        name: the command's, as in `offramp NAME`.
        argv: the words after the command's name; the process's own where None.

    Raises:
        SettingsValueError: an argument that does not exist, or text that cannot be read.
    """
    line = add_arguments(_Parser(prog=program(name), allow_abbrev=False), arguments, name)
    words = sys.argv[1:] if argv is None else argv
    try:
        flags, file = line.parse(words)
        layers = line.layers(flags)
        if file:
            layers.append((_file_values(arguments, name, file), lambda key: f"{file}: {key}"))
    except SettingsError as error:
        raise SettingsValueError(str(error)) from error
    values = {key: value for layer, _ in reversed(layers) for key, value in layer.items()}
    places = {key: line.place(key) for key in _fields(arguments)}
    places |= {key: place(key) for layer, place in reversed(layers) for key in layer}
    return Given(values, places)


def add_arguments(parser: argparse.ArgumentParser, arguments: type[BaseModel], name: str) -> "Line":
    """Give `parser` the arguments of a command, and `--config`; what it parses is read by the line returned.

    Args:
        parser: has no arguments yet.
        arguments: the model of the arguments.
        name: the command's, as in `offramp NAME`.
    """
    settings = _settings(arguments, name)
    parser.description = (arguments.__doc__ or "").strip().partition("\n\n")[0]
    prefix = settings.model_config.get("env_prefix", "")
    parser.epilog = (
        f"A flag may be given as a variable, too ({prefix}NAME), or as a key of the TOML file of --config. A "
        "flag wins over a variable, a variable over the file."
    )
    line = Line(parser, arguments, settings)
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of arguments")
    parser.usage = " ".join(["%(prog)s", *line.positional, "[--flag VALUE ...]"])
    return line


class Line:
    """A parser with the arguments of one command."""

    def __init__(
        self, parser: argparse.ArgumentParser, arguments: type[BaseModel], settings: type[BaseSettings]
    ) -> None:
        self.parser = parser
        self._arguments, self._settings = arguments, settings
        self.positional: list[str] = []
        self._groups: dict[str, argparse._ArgumentGroup] = {}
        self._flags: CliSettingsSource[Any] = CliSettingsSource(
            settings, root_parser=parser, add_argument_method=self._add, case_sensitive=True
        )

    def parse(self, words: Sequence[str]) -> tuple[dict[str, Any], Path | None]:
        """Return the values of the flags in `words`, and the file of `--config`."""
        parsed = vars(self.parser.parse_args(words))
        file = parsed.pop("config", None)
        fields = _fields(self._settings)
        for name, value in parsed.items():
            if isinstance(value, list) and NoDecode not in fields[name].metadata:
                parsed[name] = json.dumps(_from_words(flag(name), fields[name], value))
        return self._flags(parsed_args=parsed)(), file

    def layers(self, flags: Mapping[str, Any]) -> "list[tuple[Mapping[str, Any], _Place]]":
        """Return the values of each source, the strongest first, and how it names the place of a value."""
        settings = self._settings
        given, variables = InitSettingsSource(settings, dict(flags)), _Variables(settings)
        sources = settings.settings_customise_sources(
            settings, given, variables, DotEnvSettingsSource(settings), SecretsSettingsSource(settings)
        )

        def variable(name: str) -> str:
            return f"{variables.env_prefix}{name}".upper()

        return [(source(), self.place if source is given else variable) for source in sources]

    def place(self, name: str) -> str:
        """Return what a user types for a field: its flag, or its placeholder where it is positional."""
        placeholder = _placeholder(name, _fields(self._arguments)[name])
        return placeholder if placeholder in self.positional else flag(name)

    def _add(self, parser: argparse.ArgumentParser, *names: str, **how: Any) -> None:
        """Add an argument as pydantic-settings would, with a help and a placeholder for people."""
        name = how.get("dest") or names[0]
        info = _fields(self._settings)[name]
        how["help"] = _help(info)
        if how.get("action") == "append":
            how |= {"action": "extend", "nargs": "+"}
        if how.get("action") is not argparse.BooleanOptionalAction:
            how["metavar"] = _placeholder(name, info)
        if "dest" in how:
            self._group(parser, name).add_argument(*names, **how)
        else:
            self.positional.append(how["metavar"])
            how.setdefault("nargs", "?")  # a variable or the file may give it
            parser.add_argument(*names, **how)

    def _group(self, parser: argparse.ArgumentParser, name: str) -> "argparse._ActionsContainer":
        """Return the group of a flag: that of the base which declares it, named by the base's title."""
        bases = [base for base in self._arguments.__mro__[1:] if issubclass(base, BaseModel)]
        declaring = (base for base in bases if name in vars(base).get("__annotations__", ()))
        title = next((base.model_config.get("title") for base in declaring), None)
        if title is None:
            return parser
        if title not in self._groups:
            self._groups[title] = parser.add_argument_group(title)
        return self._groups[title]


_Place = Callable[[str], str]


class _Parser(argparse.ArgumentParser):
    """Raises in place of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise SettingsValueError(f"{message}; see {self.prog} --help")


class _Variables(EnvSettingsSource):
    """Reads lists and dictionaries as a command line has them, words between blanks, or as JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the list or dictionary that `value` stands for."""
        if NoDecode in field.metadata or value.lstrip().startswith(("[", "{")):
            return super().decode_complex_value(field_name, field, value)
        return _from_words(f"{self.env_prefix}{field_name}".upper(), field, shlex.split(value))


def _settings(arguments: type[BaseModel], name: str) -> type[BaseSettings]:
    """Return the settings class that pydantic-settings reads: `arguments` itself, or a copy of its fields."""
    if issubclass(arguments, BaseSettings):
        return arguments
    config = SettingsConfigDict(
        env_prefix=f"OFFRAMP_{name.upper()}_",
        env_prefix_target="all",
        env_ignore_empty=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        defer_build=True,
    )
    bases, body = (BaseSettings, arguments), {"model_config": config, "__module__": __name__}
    return cast("type[BaseSettings]", type(arguments.__name__, bases, body))


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields by the names that users see."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _file_values(arguments: type[BaseModel], name: str, file: Path) -> dict[str, Any]:
    """Return the values of a TOML file: of its table `[NAME]` where it has one, else its top level."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsValueError(f"--config {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsValueError(f"--config {file}: expected TOML; {error}") from error
    table = content.get(name, content)
    if not isinstance(table, dict):
        raise SettingsValueError(f"{file}: expected a table [{name}], found {table!r}")
    fields, values = _fields(arguments), {}
    for written, value in table.items():
        key = written.replace("-", "_")
        if key not in fields:
            near = get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}"
            raise SettingsValueError(f"{file}: {written}: no such argument of {program(name)}; {hint}")
        of_text = _is_mapping(fields[key].annotation) and isinstance(value, dict)
        values[key] = {option: _text(part) for option, part in value.items()} if of_text else value
    return values


def _text(value: object) -> str:
    """Write a value of TOML as a word of a command line."""
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _from_words(place: str, info: FieldInfo, words: Sequence[str]) -> list[str] | dict[str, str]:
    if not _is_mapping(info.annotation):
        return list(words)
    if wrong := [word for word in words if "=" not in word]:
        raise SettingsValueError(f"{place}: expected key=value, found {wrong[0]!r}")
    return dict(word.partition("=")[::2] for word in words)


def _is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict or any(map(_is_mapping, get_args(annotation)))


def choices(annotation: Any) -> list[str]:
    """Return the texts that a `Literal`, alone or beside None, lets through."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in choices(part)]


def _placeholder(name: str, info: FieldInfo) -> str:
    if info.title:
        return info.title
    if _is_mapping(info.annotation):
        return "KEY=VALUE"
    if texts := choices(info.annotation):
        return "{" + ",".join(texts) + "}"
    return name.split("_")[-1].upper()


def _help(info: FieldInfo) -> str:
    text = (info.description or "").removesuffix(".")
    default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
    if default not in (None, "", {}, (), False):
        text += f" (default: {default})"
    return text.replace("%", "%%")


def _complain(*problems: str) -> None:
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
