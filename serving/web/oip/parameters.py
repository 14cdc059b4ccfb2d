"""A request's parameters: those of the query of `/classify`, by the same names."""

from dataclasses import replace
from difflib import get_close_matches

from serving.errors import TermsError
from serving.options import MODES, PRIORITIES, ClassifyOptions
from serving.web.oip.request import Parameters
from serving.web.reading.query import read_options

NAMES = ("budget", "mode", "deadline_ms", "max_drop", "priority")
_WORDS = {"mode": MODES, "priority": PRIORITIES}
_SHOWN = 60


def options_of(parameters: Parameters, query: Parameters, model: str) -> ClassifyOptions:
    """Read parameters, and check them against each other.

    Args:
        parameters: of the request; numbers may come as numbers or as text.
        query: of its address; may say the same things, but nothing twice.
        model: the name of the model that is asked.

    Raises:
        TermsError: a parameter that does not exist, comes twice, or cannot be used.
    """
    given: dict[str, str] = {}
    for source in (parameters, query):
        for name, value in source.items():
            if name not in NAMES:
                raise TermsError(f"unknown parameter {name[:_SHOWN]!r}: {_hint(name)}")
            if name in given:
                raise TermsError(f"the parameter {name!r} is in the address and in the request: give it once")
            if isinstance(value, bool) or (name in _WORDS and not isinstance(value, str)):
                expected = f"one of {', '.join(_WORDS[name])}" if name in _WORDS else "a text or a number"
                raise TermsError(f"expected {name} to be {expected}, found {value!r:.60}")
            given[name] = value if isinstance(value, str) else repr(value)
    return replace(read_options(given), model=model, probabilities=True)


def _hint(name: str) -> str:
    if name == "timeout":
        return "for a time limit give deadline_ms"
    close = get_close_matches(name[:_SHOWN], NAMES, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected {', '.join(NAMES[:-1])} or {NAMES[-1]}"
