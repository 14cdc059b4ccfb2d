"""How a training command starts: flags from one pydantic model, and errors as text, never as tracebacks."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from serving.errors import OfframpError

Settings = TypeVar("Settings", bound=BaseModel)


def flag(name: str) -> str:
    """Return the command-line flag of a field: `batch_size` becomes `--batch-size`."""
    return "--" + name.replace("_", "-")


def add_fields(parser: argparse.ArgumentParser, settings: type[BaseModel]) -> None:
    """Give `parser` one flag per field of `settings`; values stay text, pydantic reads them."""
    for name, field in settings.model_fields.items():
        name = field.alias or name  # noqa: PLW2901 - the alias is the name that users see
        if field.annotation is bool:
            parser.add_argument(
                flag(name),
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=_help(field),
            )
        else:
            many = str(field.annotation).startswith(("tuple", "dict"))
            parser.add_argument(
                flag(name),
                nargs="+" if many else None,
                metavar=name.split("_")[-1].upper(),
                default=argparse.SUPPRESS,
                help=_help(field),
            )


def read_fields(settings: type[Settings], given: argparse.Namespace) -> Settings:
    """Build `settings` from the flags that were given.

    Raises:
        ValidationError: a value does not fit its field.
    """
    return settings.model_validate(given_values(settings, given))


def given_values(settings: type[BaseModel], given: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the flags that were given; `key=value` words become a dict where one is wanted."""
    fields = {field.alias or name: field for name, field in settings.model_fields.items()}
    values = {name: value for name, value in vars(given).items() if name in fields}
    for name, value in values.items():
        if str(fields[name].annotation).startswith("dict"):
            values[name] = dict(word.partition("=")[::2] for word in value)
    return values


def run(command: Callable[[], None]) -> int:
    """Run `command` and return the exit status: 0, or 2 with a text on stderr for a user's mistake."""
    try:
        command()
    except ValidationError as error:
        for problem in error.errors():
            where = flag(".".join(str(part) for part in problem["loc"]))
            missing = problem["type"] == "missing"
            text = "required, and not given" if missing else f"{problem['msg']}; found {problem['input']!r}"
            print(f"error: {where}: {text}", file=sys.stderr)  # noqa: T201
        return 2
    except OfframpError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return 130
    return 0


def parser_of(
    description: str, *settings: type[BaseModel], folder: tuple[str, str] | None = None
) -> argparse.ArgumentParser:
    """Make a command's parser; `--help` lists every field.

    Args:
        description: of the command.
        settings: one flag for each of their fields.
        folder: the command works on a folder, which is read as `folder`: what to call it, and its help.
    """
    parser = argparse.ArgumentParser(prog=program(), description=description, allow_abbrev=False)
    if folder is not None:
        parser.add_argument("folder", type=Path, metavar=folder[0], help=folder[1])
    for model in settings:
        add_fields(parser, model)
    return parser


def main(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None,
) -> int:
    """Read `argv`, the process's own where None, and run `command` on it; return the exit status.

    A user's mistake is one line on standard error and status 2, never a traceback.
    """
    return run(lambda: command(parser.parse_args(argv)))


def program() -> str:
    """Return what the user typed to start this process: `python -m training.fit`."""
    spec = sys.modules["__main__"].__spec__
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else Path(sys.argv[0]).name


def _choices(annotation: Any) -> list[str]:
    """Return the texts that a `Literal`, alone or beside None, lets through."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    if choices := [choice for choice in _choices(field.annotation) if choice not in text]:
        text += f": {', '.join(choices)}"
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    return text if default in (None, "", {}, ()) else f"{text} (default: {default})"
