"""The values that a command is given, where each stands, and their validation."""

import math
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from serving.command_line.fields import fields_of
from serving.command_line.naming import SettingsValueError, flag, program
from serving.command_line.parsing import Parser, add_arguments
from serving.command_line.sources import file_values

Arguments = TypeVar("Arguments", bound=BaseModel)

_MOST = 2**63


@dataclass(frozen=True)
class Given:
    """The values that a command was given, not yet validated.

    Attributes:
        values: by field; a field without a given value is absent.
        places: where each value stands, in words for a message: a flag, a variable, or a key of a file.
    """

    values: Mapping[str, Any]
    places: Mapping[str, str] = field(default_factory=dict)

    def of(self, model: type[BaseModel]) -> dict[str, Any]:
        """Return the values of the fields of `model`."""
        return {name: value for name, value in self.values.items() if name in fields_of(model)}

    def read(self, model: type[Arguments]) -> Arguments:
        """Validate the values of the fields of `model`.

        Raises:
            SettingsValueError: a value does not fit its field, or is missing.
        """
        try:
            found = model.model_validate(self.of(model))
        except ValidationError as error:
            problems = (self.problem(problem) for problem in error.errors())
            raise SettingsValueError("\n".join(problems)) from error
        # No library below takes such numbers; each has its own error.
        for name, value in found:
            if _is_beyond_any(value):
                place = self.places.get(name, flag(name))
                raise SettingsValueError(
                    f"{place}: expected a finite number under 2^63; found {reprlib.repr(value)}"
                )
        return found

    def problem(self, problem: ErrorDetails) -> str:
        """Return a problem of validation as a line: where the value stands, what was expected and found."""
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if not problem["loc"]:
            return message
        name = str(problem["loc"][0])
        place = self.places.get(name, flag(name))
        if problem["type"] == "missing":
            return f"{place}: required, and not given"
        return f"{place}: {message}; found {reprlib.repr(problem['input'])}"


def _is_beyond_any(value: object) -> bool:
    """Whether a value is a number, or holds one, that is infinite, none, or does not fit into 64 bits."""
    if isinstance(value, tuple | list):
        return any(map(_is_beyond_any, value))
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, int) and abs(value) >= _MOST


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
    line = add_arguments(Parser(prog=program(name), allow_abbrev=False), arguments, name)
    words = sys.argv[1:] if argv is None else argv
    try:
        flags, file = line.parse(words)
        layers = line.layers(flags)
        if file:
            layers.append((file_values(arguments, name, file), lambda key: f"{file}: {key}"))
    except SettingsError as error:
        raise SettingsValueError(str(error)) from error
    values = {key: value for layer, _ in reversed(layers) for key, value in layer.items()}
    places = {key: line.place(key) for key in fields_of(arguments)}
    places |= {key: place(key) for layer, place in reversed(layers) for key in layer}
    return Given(values, places)
