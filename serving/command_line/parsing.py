"""The parser of a command, built by pydantic-settings from the model of its arguments."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from pydantic import BaseModel
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    DotEnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from serving.command_line.fields import fields_of, from_words, help_of, is_flag_or_word, placeholder
from serving.command_line.naming import SettingsValueError, flag
from serving.command_line.sources import Variables

Place = Callable[[str], str]
"""A source's name of the place of a field's value, for a message."""


def add_arguments(parser: argparse.ArgumentParser, arguments: type[BaseModel], name: str) -> "Line":
    """Give `parser` the arguments of a command, and `--config`; what it parses is read by the line returned.

    Args:
        parser: has no arguments yet.
        arguments: the model of the arguments.
        name: the command's, as in `offramp NAME`.
    """
    settings = settings_of(arguments, name)
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
        fields = fields_of(self._settings)
        for name, value in parsed.items():
            if isinstance(value, list) and NoDecode not in fields[name].metadata:
                parsed[name] = json.dumps(from_words(flag(name), fields[name], value))
        return self._flags(parsed_args=parsed)(), file

    def layers(self, flags: Mapping[str, Any]) -> "list[tuple[Mapping[str, Any], Place]]":
        """Return the values of each source, the strongest first, and how it names the place of a value."""
        settings = self._settings
        given, variables = InitSettingsSource(settings, dict(flags)), Variables(settings)
        sources = settings.settings_customise_sources(
            settings, given, variables, DotEnvSettingsSource(settings), SecretsSettingsSource(settings)
        )

        def variable(name: str) -> str:
            return f"{variables.env_prefix}{name}".upper()

        return [(source(), self.place if source is given else variable) for source in sources]

    def place(self, name: str) -> str:
        """Return what a user types for a field: its flag, or its placeholder where it is positional."""
        written = placeholder(name, fields_of(self._arguments)[name])
        return written if written in self.positional else flag(name)

    def _add(self, parser: argparse.ArgumentParser, *names: str, **how: Any) -> None:
        """Add an argument as pydantic-settings would, with a help and a placeholder for people."""
        name = how.get("dest") or names[0]
        info = fields_of(self._settings)[name]
        how["help"] = help_of(info)
        if how.get("action") == "append":
            how |= {"action": "extend", "nargs": "+"}
        if how.get("action") is not argparse.BooleanOptionalAction:
            how["metavar"] = placeholder(name, info)
        if is_flag_or_word(info.annotation):
            how |= {"nargs": "?", "const": "true"}
            off = {"action": "store_const", "const": "false", "dest": name, "default": how["default"]}
            self._group(parser, name).add_argument(flag(f"no_{name}"), help=argparse.SUPPRESS, **off)
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


class Parser(argparse.ArgumentParser):
    """Raises in place of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise.

        Raises:
            SettingsValueError: with the message.
        """
        raise SettingsValueError(f"{message}; see {self.prog} --help")


def settings_of(arguments: type[BaseModel], name: str) -> type[BaseSettings]:
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
