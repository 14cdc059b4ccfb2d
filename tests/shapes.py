"""Checks the annotated shapes of arrays while tests run: jaxtyping's import hook, with beartype.

The root conftest imports this module before anything else, since the hook covers only later imports.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook

PACKAGES = ("serving.policy", "training.methods")


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arrays among a function's arguments, and its result; mypy has the other types."""
    function.__annotations__ = {
        name: hint for name, hint in function.__annotations__.items() if has_shape(hint)
    }
    return beartype(function)


def has_shape(hint: Any) -> bool:
    """Whether an annotation is an array with a shape, or holds one, as `Sequence` may."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(has_shape(part) for part in get_args(hint))


hook = install_import_hook(PACKAGES, "tests.shapes.checked")
