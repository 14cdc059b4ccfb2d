"""A field as an argument: its name, its placeholder, its help, and its value out of words."""

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from serving.command_line.naming import SettingsValueError


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields by the names that users see."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def from_words(place: str, info: FieldInfo, words: Sequence[str]) -> list[str] | dict[str, str]:
    """Return the list or dictionary that words stand for; `place` is named where one is not `key=value`.

    Raises:
        SettingsValueError: such a word.
    """
    if not is_mapping(info.annotation):
        return list(words)
    if wrong := [word for word in words if "=" not in word]:
        raise SettingsValueError(f"{place}: expected key=value, found {wrong[0]!r}")
    return dict(word.partition("=")[::2] for word in words)


def is_mapping(annotation: Any) -> bool:
    """Tell whether a dictionary fits a type, or a part of it."""
    return get_origin(annotation) is dict or any(map(is_mapping, get_args(annotation)))


def choices(annotation: Any) -> list[str]:
    """Return the texts that a `Literal`, alone or beside None, lets through."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in choices(part)]


def is_flag_or_word(annotation: Any) -> bool:
    """Tell whether a type is a flag that may be given a word instead, such as `bool | Literal["auto"]`."""
    return bool in get_args(annotation) and bool(choices(annotation))


def placeholder(name: str, info: FieldInfo) -> str:
    """Return what stands for a value in the help: the field's title, its choices, or its name's last word."""
    if info.title:
        return info.title
    if is_mapping(info.annotation):
        return "KEY=VALUE"
    if texts := choices(info.annotation):
        return "{" + ",".join(texts) + "}"
    return name.split("_")[-1].upper()


def help_of(info: FieldInfo) -> str:
    """Return a field's description and default, as argparse formats it."""
    text = (info.description or "").removesuffix(".")
    default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
    if default not in (None, "", {}, (), False):
        text += f" (default: {default})"
    return text.replace("%", "%%")
