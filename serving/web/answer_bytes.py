"""Writes answers as JSON, once and by hand: no tree is built and walked for seven known fields."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from types import MappingProxyType

from starlette.responses import Response

from serving.answer import Answer, ExitReport
from serving.telemetry.request_times import RequestTimes
from serving.web.answer_form import PLAIN, AnswerForm

_KEPT_TEXTS = 65_536  # class names, mostly: the largest label sets in use have some twenty thousand

BROWNOUT_HEADER = b"offramp-brownout"
"""The response header with what a brown-out left of the budget; not there where nothing lowered it."""

_JSON = (b"content-type", b"application/json")
NO_FAILURES: Mapping[int, str] = MappingProxyType({})
_text = lru_cache(_KEPT_TEXTS)(json.dumps)


class AnswerResponse(Response):
    """A response with answers; `Response` without what it costs to find out what is known here.

    Args:
        answers: one per image that was read.
        listed: whether the caller sent, and expects, a list.
        classes: the names of all classes, by index.
        form: what answers say.
        failures: problems in place of the images that could not be read, by their index.
        times: where the time went, for the header `Server-Timing`; None for no such header.
    """

    def __init__(
        self,
        answers: Sequence[Answer],
        *,
        listed: bool,
        classes: Sequence[str] = (),
        form: AnswerForm = PLAIN,
        failures: Mapping[int, str] = NO_FAILURES,
        times: RequestTimes | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        told = [as_object(answer, classes, form) for answer in answers]
        for index in sorted(failures):
            told.insert(index, f'{{"problem": {failures[index]}}}')
        self.body = (as_list(told) if listed else told[0]).encode()
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), _JSON]
        if times is not None:
            self.raw_headers.append((b"server-timing", times.server_timing().encode()))
        if answers and answers[0].budget_share < 1:
            self.raw_headers.append((BROWNOUT_HEADER, b"%.3g" % answers[0].budget_share))


def as_list(told: Sequence[str]) -> str:
    """Return `{"results": [...]}` of answers that are JSON already."""
    return f'{{"results": [{", ".join(told)}]}}'


def as_object(answer: Answer, classes: Sequence[str] = (), form: AnswerForm = PLAIN) -> str:
    """Return one answer as a JSON object.

    Args:
        answer: which.
        classes: the names of all classes, by index.
        form: what it says.

    Raises:
        ValueError: a number that JSON has no word for.
    """
    if not (math.isfinite(answer.confidence) and math.isfinite(answer.budget_flops)):
        raise ValueError(f"expected finite numbers in an answer, found {answer}")
    met = answer.deadline_met
    deadline = "" if met is None else f', "deadline_met": {"true" if met else "false"}'
    timed = ""
    if answer.budget_seconds is not None and answer.seconds is not None:
        timed = f', "ms": {1e3 * answer.seconds:.6g}, "budget_ms": {1e3 * answer.budget_seconds:.6g}'
    more = "" if form is PLAIN and answer.exits is None else _more(answer, classes, form)
    return (
        f'{{"class_name": {_text(answer.class_name)}, "class_index": {answer.class_index:d}, '
        f'"confidence": {float.__repr__(answer.confidence)}, "exit": {answer.exit:d}, '
        f'"flops": {answer.flops:d}, "budget_flops": {float.__repr__(answer.budget_flops)}, '
        f'"model": {_text(answer.model)}{deadline}{timed}{more}}}'
    )


def _more(answer: Answer, classes: Sequence[str], form: AnswerForm) -> str:
    """Return what is asked for on top, each part behind a comma."""
    parts: dict[str, object] = {}
    if form.top_k is not None:
        parts["top"] = [
            {"class_name": classes[index], "class_index": index, "probability": probability}
            for index, probability in answer.top(form.top_k)
        ]
    if form.probabilities and answer.probabilities is not None:
        parts["probabilities"] = answer.probabilities.tolist()
    if answer.exits is not None:
        parts["exits"] = [_report(report) for report in answer.exits]
    return "".join(
        f", {json.dumps(name)}: {json.dumps(part, allow_nan=False)}" for name, part in parts.items()
    )


def _report(report: ExitReport) -> dict[str, object]:
    """Return the answer of an exit; a threshold out of reach is written as a large number, never infinity."""
    return asdict(report) | {"threshold": _finite(report.threshold)}


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
