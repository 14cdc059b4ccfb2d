"""Completion of `offramp` in a shell, made by shtab from the parsers of all commands."""

import argparse
import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import shtab
from pydantic import BaseModel

from offramp._siblings import bind


def completion(parser: argparse.ArgumentParser, commands: Iterable[tuple[str, str, str]], shell: str) -> str:
    """Return a script that completes the commands, their flags, choices and files.

    Args:
        parser: of `offramp` itself; the commands are added to it.
        commands: name, module and summary of each. The module's `Arguments` is the model of its arguments.
        shell: bash, zsh or tcsh.
    """
    bind("serving")
    from serving import command_line

    chosen = parser.add_subparsers(dest="command")
    for name, module, summary in commands:
        bind(module.partition(".")[0])
        arguments: type[BaseModel] = importlib.import_module(module).Arguments
        command = chosen.add_parser(name, help=summary)
        command_line.add_arguments(command, arguments, name)
        for action in command._actions:
            info = arguments.model_fields.get(action.dest)
            annotation = Path if action.dest == "config" else info and info.annotation
            action.choices = command_line.choices(annotation) or action.choices
            if _is_path(annotation):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def _is_path(annotation: object) -> bool:
    return annotation is Path or any(map(_is_path, get_args(annotation)))
