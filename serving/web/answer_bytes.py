"""Writes answers as JSON, once and by hand: no tree is built and walked for seven known fields."""

import json
import math
from collections.abc import Sequence
from functools import lru_cache

from starlette.responses import Response

from serving.answer import Answer

_KEPT_TEXTS = 65_536  # class names, mostly: the largest label sets in use have some twenty thousand

_JSON = (b"content-type", b"application/json")
_text = lru_cache(_KEPT_TEXTS)(json.dumps)


class AnswerResponse(Response):
    """A response with answers; `Response` without what it costs to find out what is known here.

    Args:
        answers: one per image.
        listed: whether the caller sent, and expects, a list.
    """

    def __init__(self, answers: Sequence[Answer], *, listed: bool) -> None:
        self.status_code = 200
        self.background = None
        self.body = (as_list(answers) if listed else as_object(answers[0])).encode()
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), _JSON]


def as_list(answers: Sequence[Answer]) -> str:
    """Return `{"results": [...]}`."""
    return f'{{"results": [{", ".join(map(as_object, answers))}]}}'


def as_object(answer: Answer) -> str:
    """Return one answer as a JSON object.

    Raises:
        ValueError: a number that JSON has no word for.
    """
    if not (math.isfinite(answer.confidence) and math.isfinite(answer.budget_flops)):
        raise ValueError(f"expected finite numbers in an answer, found {answer}")
    met = answer.deadline_met
    deadline = "" if met is None else f', "deadline_met": {"true" if met else "false"}'
    return (
        f'{{"class_name": {_text(answer.class_name)}, "class_index": {answer.class_index:d}, '
        f'"confidence": {float.__repr__(answer.confidence)}, "exit": {answer.exit:d}, '
        f'"flops": {answer.flops:d}, "budget_flops": {float.__repr__(answer.budget_flops)}, '
        f'"model": {_text(answer.model)}{deadline}}}'
    )
