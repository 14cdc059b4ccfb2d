"""Values beside the flags: variables, and the TOML file of `--config`."""

import shlex
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, NoDecode

from serving.command_line.fields import fields_of, from_words, is_mapping
from serving.command_line.naming import SettingsValueError, program


class Variables(EnvSettingsSource):
    """Reads lists and dictionaries as a command line has them, words between blanks, or as JSON.

    A variable of blanks alone is not given, as an empty one.
    """

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name: value for name, value in super()._load_env_vars().items() if not _is_blank(value)}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the list or dictionary that `value` stands for."""
        if NoDecode in field.metadata or value.lstrip().startswith(("[", "{")):
            return super().decode_complex_value(field_name, field, value)
        return from_words(f"{self.env_prefix}{field_name}".upper(), field, shlex.split(value))


def file_values(arguments: type[BaseModel], name: str, file: Path) -> dict[str, Any]:
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
    fields, values = fields_of(arguments), {}
    for written, value in table.items():
        key = written.replace("-", "_")
        if key not in fields:
            near = get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}"
            raise SettingsValueError(f"{file}: {written}: no such argument of {program(name)}; {hint}")
        of_text = is_mapping(fields[key].annotation) and isinstance(value, dict)
        values[key] = {option: _text(part) for option, part in value.items()} if of_text else value
    return values


def _is_blank(value: str | None) -> bool:
    return value is not None and not value.strip()


def _text(value: object) -> str:
    """Write a value of TOML as a word of a command line."""
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
