"""Options of models and methods: read from values or text, refused by name."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from training.errors import ConfigError


def settle(name: str, options: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """Read what was chosen for `name` into its option model.

    Args:
        name: of the model or method, for the message.
        options: what can be chosen.
        values: what was, as values or as text.

    Raises:
        ConfigError: an unknown option, or values that do not fit, alone or together.
    """
    try:
        return options.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(_problem(p["type"], p["loc"], p["msg"], p["input"]) for p in error.errors())
        known = ", ".join(options.model_fields) or "none"
        raise ConfigError(f"options of {name}: {problems} (known: {known})") from error


def _problem(kind: str, where: tuple[int | str, ...], message: str, found: object) -> str:
    """Return a validation problem in words; one without a place is about the options together."""
    texts = {"extra_forbidden": "no such option", "missing": "required"}
    place = ".".join(map(str, where)) or "together"
    return f"{place}: {texts.get(kind, f'{message}, found {found!r}')}"
