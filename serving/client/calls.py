"""Requests to the server and the reading of their answers, without a network: both clients send these."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec
import numpy as np

from serving.answer import ExitReport
from serving.client.errors import ClientError, ResponseError, UnexpectedAnswerError
from serving.client.pictures import encoded
from serving.client.results import Label, LabelsTaken, Plan, ServedModel, ServerAnswer, TopClass
from serving.client.retries import retry_after_seconds
from serving.images.inputs import Images
from serving.options import Budget, Mode, Priority

T = TypeVar("T")
_Read = TypeVar("_Read")

REQUEST_ID = "offramp-request-id"
_BROWNOUT = "offramp-brownout"
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP.

    Attributes:
        status: of the answer.
        headers: by their names in lower case.
        body: all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read.

    Attributes:
        method: GET or POST.
        path: below the server's address.
        read: of an answer without an error.
        query: the parameters.
        body: what is sent.
        content_type: of the body.
    """

    method: str
    path: str
    read: Callable[[Reply], T]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str | None = None

    def result(self, reply: Reply) -> T:
        """Read an answer.

        Raises:
            ResponseError: it is an error.
            UnexpectedAnswerError: it is not of Offramp's form.
        """
        if reply.status != HTTPStatus.OK:
            raise _refusal(reply)
        return self.read(reply)


class _Answer(msgspec.Struct):
    class_name: str
    class_index: int
    confidence: float
    exit: int
    flops: int
    budget_flops: float
    model: str
    deadline_met: bool | None = None
    ms: float | None = None
    budget_ms: float | None = None
    top: tuple[TopClass, ...] | None = None
    probabilities: list[float] | None = None
    exits: tuple[ExitReport, ...] | None = None


class _Answers(msgspec.Struct):
    results: list[_Answer]


class _Models(msgspec.Struct):
    models: list[ServedModel]
    default_model: str | None = None


def classify_call(
    images: Images,
    budget: Budget | None,
    *,
    model: str | None,
    version: str | None,
    mode: Mode | None,
    max_drop: float | None,
    deadline_seconds: float | None,
    priority: Priority | None,
    top_k: int | None,
    probabilities: bool,
    explain: bool,
) -> Call[list[ServerAnswer]]:
    """Return the request for answers to images; None is the server's default.

    Raises:
        ImageError: none at all, or one that cannot be read.
    """
    files = encoded(images)
    given: dict[str, object] = {
        "budget": _text_of(budget),
        "model": model,
        "version": version,
        "mode": mode,
        "max_drop": max_drop,
        "deadline_ms": None if deadline_seconds is None else 1000 * deadline_seconds,
        "priority": priority,
        "top_k": top_k,
        "probabilities": 1 if probabilities else None,
        "explain": 1 if explain else None,
    }
    query = {name: str(value) for name, value in given.items() if value is not None}
    if len(files) == 1:
        return Call("POST", "/classify", _one_answer, query, files[0], "application/octet-stream")
    body = json.dumps({"images": [base64.b64encode(file).decode() for file in files]}).encode()
    return Call("POST", "/classify", partial(_answers, len(files)), query, body, "application/json")


def models_call() -> Call[list[ServedModel]]:
    """Return the request for the loaded models."""
    return Call("GET", "/models", _models)


def plan_call(model: str, budget: Budget | None, max_drop: float | None) -> Call[Plan]:
    """Return the request for the effect of a budget or a guarantee."""
    given = {
        "budget": _text_of(budget),
        "max_drop": None if max_drop is None else str(max_drop),
    }
    query = {name: value for name, value in given.items() if value is not None}
    return Call("GET", f"{_path(model)}/plan", partial(_read, Plan), query)


def labels_call(model: str, labels: Sequence[Label], *, skip_unknown: bool) -> Call[LabelsTaken]:
    """Return the request that brings true classes.

    Raises:
        ValueError: none at all.
    """
    if not labels:
        raise ValueError("expected labels, found none")
    listed = [
        {
            "request_id": label.request_id,
            "image": label.index,
            "class_name" if isinstance(label.label, str) else "class_index": label.label,
        }
        for label in labels
    ]
    query = {"on_unknown": "skip"} if skip_unknown else {}
    body = json.dumps({"labels": listed}).encode()
    return Call(
        "POST", f"{_path(model)}/labels", partial(_read, LabelsTaken), query, body, "application/json"
    )


def ready_call() -> Call[bool]:
    """Return the request whether traffic can be sent; an error says that it cannot."""
    return Call("GET", "/v2/health/ready", lambda _: True)


def default_of(models: Sequence[ServedModel]) -> str:
    """Return the name of the model that answers where none is named.

    Raises:
        ClientError: several are loaded, and none is the default.
    """
    for model in models:
        if model.is_default:
            return model.name
    named = ", ".join(model.name for model in models) or "none"
    raise ClientError(f"expected model=, since the server has no default; loaded: {named}")


def _text_of(budget: Budget | None) -> str | None:
    return budget if budget is None or isinstance(budget, str) else repr(float(budget))


def _path(model: str) -> str:
    return f"/models/{quote(model, safe='')}"


def _refusal(reply: Reply) -> ResponseError:
    """Return the error that an answer tells: a problem (RFC 9457), or whatever a proxy wrote."""
    try:
        document = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    told = document if isinstance(document, dict) else {}
    detail, kind = told.get("detail"), told.get("type")
    if not isinstance(detail, str):
        text = reply.body[:_SHOWN_CHARACTERS].decode(errors="replace").strip()
        detail = text or "an answer without a body"
    return ResponseError(
        reply.status,
        detail,
        type_=kind if isinstance(kind, str) else "about:blank",
        request_id=reply.headers.get(REQUEST_ID),
        retry_after_seconds=retry_after_seconds(reply.headers.get("retry-after")),
    )


def _read(kind: type[_Read], reply: Reply) -> _Read:
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnexpectedAnswerError(
            f"expected an answer of an Offramp server, found {reply.headers.get('content-type', 'no type')} "
            f"{reply.body[:_SHOWN_CHARACTERS]!r}: {error}"
        ) from error


def _models(reply: Reply) -> list[ServedModel]:
    read = _read(_Models, reply)
    return [replace(model, is_default=model.name == read.default_model) for model in read.models]


def _one_answer(reply: Reply) -> list[ServerAnswer]:
    return [_as_answer(_read(_Answer, reply), 0, reply)]


def _answers(count: int, reply: Reply) -> list[ServerAnswer]:
    results = _read(_Answers, reply).results
    if len(results) != count:
        raise UnexpectedAnswerError(f"expected answers to {count} images, found {len(results)}")
    return [_as_answer(answer, index, reply) for index, answer in enumerate(results)]


def _as_answer(told: _Answer, index: int, reply: Reply) -> ServerAnswer:
    return ServerAnswer(
        class_name=told.class_name,
        class_index=told.class_index,
        confidence=told.confidence,
        exit=told.exit,
        flops=told.flops,
        budget_flops=told.budget_flops,
        model=told.model,
        deadline_met=told.deadline_met,
        probabilities=None if told.probabilities is None else np.array(told.probabilities, np.float32),
        exits=told.exits,
        budget_share=_share(reply.headers.get(_BROWNOUT)),
        budget_seconds=None if told.budget_ms is None else told.budget_ms / 1000,
        seconds=None if told.ms is None else told.ms / 1000,
        request_id=reply.headers.get(REQUEST_ID, ""),
        index=index,
        likeliest=told.top,
    )


def _share(value: str | None) -> float:
    """Read the header that tells of a brown-out."""
    try:
        return 1.0 if value is None else float(value)
    except ValueError:
        return 1.0
