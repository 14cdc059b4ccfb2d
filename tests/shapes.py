"""Checks the annotated shapes of arrays while tests run: jaxtyping's import hook, with beartype.

The root conftest imports this module before anything else, since the hook covers only later imports.
"""

from collections import Counter
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, get_args

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook

PACKAGES = ("serving.policy", "training.methods")
MOST_CALLS = 100
"""Calls of a function that one test has checked: simulations make millions of them, all of a kind."""
CALLS: Counter[FunctionType] = Counter()
"""Calls in this test so far; the root conftest clears it before each."""


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


def sampled(*, typechecker: Any, jaxtyped: Any = jaxtyping.jaxtyped) -> Callable[[Any], Any]:
    """Return jaxtyping's decorator, but for functions without arrays, and for a test's first calls alone."""

    def decorate(target: Any) -> Any:
        if not isinstance(target, FunctionType):  # a dataclass
            return jaxtyped(typechecker=typechecker)(target)
        if not any(map(has_shape, target.__annotations__.values())):
            return target
        checking = jaxtyped(typechecker=typechecker)(target)

        @wraps(target)
        def call(*args: Any, **named: Any) -> Any:
            CALLS[target] += 1
            return (checking if CALLS[target] <= MOST_CALLS else target)(*args, **named)

        return call

    return decorate


jaxtyping.jaxtyped = sampled  # type: ignore[assignment]
hook = install_import_hook(PACKAGES, "tests.shapes.checked")
