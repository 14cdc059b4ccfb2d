"""The form of answers that a caller asks for, and the handling of images that cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.errors import QueryError

FORM_NAMES = ("top_k", "probabilities", "on_error", "timings")
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """The contents of an answer beside the likeliest class.

    Args:
        top_k: how many of the likeliest classes; None for none.
        probabilities: whether those of all classes, in their order.
        item_errors: whether an image of a list that cannot be read gets a problem of its own, in its place;
            else the request fails whole.
        timings: whether the header `Server-Timing` says where the time went.
    """

    top_k: int | None = None
    probabilities: bool = False
    item_errors: bool = False
    timings: bool = False

    @property
    def needs_probabilities(self) -> bool:
        """Whether the model has to give the probabilities of all classes."""
        return self.probabilities or self.top_k is not None


PLAIN = AnswerForm()


def read_form(query: Mapping[str, str]) -> AnswerForm:
    """Read the form that a query asks for; a parameter that is not there is not asked for.

    Raises:
        QueryError: a value that is none.
    """
    on_error = query.get("on_error", "request")
    if on_error not in ("request", "item"):
        raise QueryError(f"expected on_error=request or on_error=item, found {on_error[:60]!r}")
    top_k = None
    if (text := query.get("top_k")) is not None:
        if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:10]) <= _MOST_CLASSES:
            raise QueryError(f"expected top_k to be a number of classes, 1 or more, found {text[:60]!r}")
        top_k = int(text[:10])
    return AnswerForm(
        top_k, read_switch(query, "probabilities"), on_error == "item", read_switch(query, "timings")
    )


def read_switch(query: Mapping[str, str], name: str) -> bool:
    """Read a parameter that is on (`1`) or off (`0`, or not there).

    Raises:
        QueryError: anything else.
    """
    text = query.get(name, "0")
    if text not in ("0", "1"):
        raise QueryError(f"expected {name}=1 or {name}=0, found {text[:60]!r}")
    return text == "1"
