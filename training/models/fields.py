"""Field types that the architectures' option models share: lists may be given as text on the command line."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field


def _split(values: object) -> object:
    """Read `1,2,4`, `1-2-4` as the field writes it, or several such words."""
    words = [values] if isinstance(values, str) else values
    if isinstance(words, list | tuple) and all(isinstance(word, str) for word in words):
        return [part for word in words for part in word.replace("-", ",").split(",") if part]
    return values


def _split_names(values: object) -> object:
    """Read `layer1,layer2`, or several such words."""
    words = [values] if isinstance(values, str) else values
    if isinstance(words, list | tuple) and all(isinstance(word, str) for word in words):
        return [part.strip() for word in words for part in word.split(",") if part.strip()]
    return values


def _distinct(exits: tuple[int, ...]) -> tuple[int, ...]:
    """Sort, and refuse an exit that is named twice."""
    repeated = sorted({place for place in exits if exits.count(place) > 1})
    if repeated:
        raise ValueError(f"expected every exit once, found {', '.join(map(str, repeated))} repeatedly")
    return tuple(sorted(exits))


Positive = Annotated[int, Field(ge=1)]
Factors = Annotated[tuple[Positive, ...], BeforeValidator(_split), Field(min_length=1)]
Counts = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_split), Field(min_length=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split_names)]
Places = Annotated[
    tuple[Positive, ...], BeforeValidator(_split), AfterValidator(_distinct), Field(min_length=1)
]
"""Where early exits are, counted from 1 in layers or blocks; sorted, each once."""
