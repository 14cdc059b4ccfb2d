"""Reads query strings strictly: a mistyped `?buget=` must not silently spend the full depth."""

from difflib import get_close_matches

from starlette.datastructures import QueryParams

from serving.errors import QueryError


def read_query(query: bytes, *known: str) -> dict[str, str]:
    """Read a request's query parameters.

    Args:
        query: the query string, as ASGI has it.
        known: the parameters that exist.

    Returns:
        Those given, by name; an empty value counts as given.

    Raises:
        QueryError: a parameter that does not exist, or one given twice.
    """
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
