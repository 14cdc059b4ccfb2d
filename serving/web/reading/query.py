"""Query parameters, read strictly: a mistyped `?buget=` must not silently spend the full depth."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from starlette.datastructures import QueryParams

from serving.errors import QueryError, QueryTooLongError, TermsError
from serving.options import MODES, PRIORITIES, ClassifyOptions, check
from serving.web.answer_form import FORM_NAMES, read_switch

BUDGET_PARAMETER = {
    "name": "budget",
    "in": "query",
    "description": "Cost of an image on average: `150MFLOPs`, `0.15GFLOPs`, `1.5e8`, or `50%` of the "
    "full depth; or a time, `8ms`, by what the stages took on this machine when the model was loaded. The "
    "server's default where absent.",
    "schema": {"type": "string"},
}

MAX_DROP_PARAMETER = {
    "name": "max_drop",
    "in": "query",
    "description": "The share of answers that leaving early may lose, but for the chance that the server's "
    "`--guarantee-delta` allows; a `budget` beside it is a cap on what that may cost. Goes with neither "
    "`mode=hard` nor `deadline_ms`.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
}

TERMS_PARAMETERS = [
    {
        "name": "mode",
        "in": "query",
        "description": "`average`: the budget holds over all requests that ask for it. `hard`: the images of "
        "this request never cost more than their number times the budget.",
        "schema": {"type": "string", "enum": list(MODES), "default": "average"},
    },
    {
        "name": "deadline_ms",
        "in": "query",
        "description": "Milliseconds from the receipt of the request's headers: each image is answered by "
        "the deepest exit that is done by then.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    MAX_DROP_PARAMETER,
    {
        "name": "priority",
        "in": "query",
        "description": "The class of the request: while too much waits, average budgets of `low` are lowered "
        "first, then those of `normal`. With API keys it can only be lower than the key's class.",
        "schema": {"type": "string", "enum": list(PRIORITIES), "default": "normal"},
    },
]

MODEL_PARAMETER = {
    "name": "model",
    "in": "query",
    "description": "Which model; needed where several are loaded and none is the default.",
    "schema": {"type": "string"},
}

VERSION_PARAMETER = {
    "name": "version",
    "in": "query",
    "description": "Which version of the model, where its folder has several; else the current one, or a "
    "canary's share.",
    "schema": {"type": "string"},
}

MAX_QUERY_BYTES = 1024
_NUMBER = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?(?:nan|inf)", re.ASCII | re.I
)

FORM_PARAMETERS = [
    {
        "name": "top_k",
        "in": "query",
        "description": "Name so many of the likeliest classes, with their probabilities, under `top`.",
        "schema": {"type": "integer", "minimum": 1},
    },
    {
        "name": "probabilities",
        "in": "query",
        "description": "1: the probabilities of all classes, in the order of their indices.",
        "schema": {"type": "integer", "enum": [0, 1], "default": 0},
    },
    {
        "name": "explain",
        "in": "query",
        "description": "1: what every exit says of the image, under `exits`. One image a request; it runs "
        "every exit, and counts neither as spent nor as drift.",
        "schema": {"type": "integer", "enum": [0, 1], "default": 0},
    },
    {
        "name": "timings",
        "in": "query",
        "description": "1: the header `Server-Timing` says where the time went: decode, queue, each stage.",
        "schema": {"type": "integer", "enum": [0, 1], "default": 0},
    },
    {
        "name": "on_error",
        "in": "query",
        "description": "`item`: an image of a JSON list that cannot be read gets a `problem` in its place, "
        "and the others are answered. `request`: the request fails whole.",
        "schema": {"type": "string", "enum": ["request", "item"], "default": "request"},
    },
]

PARAMETERS = (
    *("budget", "max_drop", "mode", "deadline_ms", "model", "version", "explain", "priority"),
    *FORM_NAMES,
)
"""The query parameters of `/classify`."""


def read_query(query: bytes, *known: str) -> dict[str, str]:
    """Read a request's query parameters.

    Args:
        query: the query string, as ASGI has it.
        known: the parameters that exist.

    Returns:
        Those given, by name; an empty value counts as given.

    Raises:
        QueryTooLongError: more than MAX_QUERY_BYTES; it is not looked at.
        QueryError: a parameter that does not exist, or one given twice.
    """
    if len(query) > MAX_QUERY_BYTES:
        raise QueryTooLongError(f"expected a query of at most {MAX_QUERY_BYTES} bytes, found {len(query)}")
    given: dict[str, str] = {}
    for name, value in QueryParams(query).multi_items():
        if name not in known:
            close = get_close_matches(name[:60], known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected {_either(known)}"
            raise QueryError(f"unknown query parameter {name[:60]!r}: {hint}")
        if name in given:
            raise QueryError(f"the query parameter {name!r} is given more than once: give it once")
        given[name] = value
    return given


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part) or "none"


def read_options(query: Mapping[str, str]) -> ClassifyOptions:
    """Read what a query asks for, and check it; a parameter that is not there is not asked for.

    Raises:
        TermsError: as `check`, and for what is no number.
    """
    ask = ClassifyOptions(
        budget=query.get("budget"),
        mode=query.get("mode", "average"),  # type: ignore[arg-type] # checked below, as callers' own are
        deadline_seconds=_milliseconds(query["deadline_ms"]) if "deadline_ms" in query else None,
        max_drop=_number("max_drop", query["max_drop"]) if "max_drop" in query else None,
        model=query.get("model"),
        explain=read_switch(query, "explain"),
        priority=query.get("priority"),  # type: ignore[arg-type] # as `mode`
    )
    check(ask)
    return ask


def _milliseconds(text: str) -> float:
    return _number("deadline_ms", text) / 1000


def _number(name: str, text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise TermsError(f"expected {name} to be a number, found {text[:60]!r}")
    return float(text)
