"""`POST /models/{model}/labels`, for true classes of images that were answered; `GET`, for what they say."""

from dataclasses import asdict
from typing import Annotated

import msgspec
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.errors import QueryError, RequestError
from serving.monitoring.label_book import AccuracySummary, Expected, Label, LabelBook
from serving.web.problems import documented
from serving.web.reading.body import body_headers, receive_body
from serving.web.reading.query import read_query
from serving.web.routes.label_schemas import (
    MAX_ID,
    MAX_LABELS,
    MAX_PLACE,
    AccuracyBody,
    ExitAccuracyBody,
    LabelsBody,
    TakenBody,
    TrafficCertificateBody,
)
from serving.web.served import ServedModel
from serving.web.service import Service

_MAX_BYTES = 2 * 2**20

_FORM = '{"labels": [{"request_id": "...", "image": 0, "class_name": "cat"}, ...]}'
_ON_UNKNOWN = {
    "name": "on_unknown",
    "in": "query",
    "description": "`skip`: leave out labels for answers that are not kept (any more), and count them. "
    "`fail`: the request fails whole.",
    "schema": {"type": "string", "enum": ["fail", "skip"], "default": "fail"},
}


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
    image: Annotated[int, msgspec.Meta(ge=0, lt=MAX_PLACE)] = 0
    class_name: str | None = None
    class_index: int | None = None


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    labels: Annotated[list[_Label], msgspec.Meta(min_length=1, max_length=MAX_LABELS)]


_DOCUMENT = msgspec.json.Decoder(_Document)


def router(service: Service) -> APIRouter:
    """Make the routes over `service`; without a book of labels there is nothing at their path."""
    routes = APIRouter(prefix="/models/{model}/labels")

    def book() -> LabelBook:
        if service.labels is None:
            raise HTTPException(404)
        return service.labels

    @routes.post(
        "",
        summary="Send back the true classes of images",
        responses=documented(400, 404, 408, 413, 414, 415, 422, 429),
        openapi_extra={
            "parameters": [_ON_UNKNOWN],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": LabelsBody.model_json_schema()}},
            },
        },
    )
    async def send(request: Request, model: str) -> TakenBody:
        """For each image the `Offramp-Request-ID` of its request, its place in it, and its class."""
        taking, chosen = book(), service.choose(model)
        on_unknown = read_query(request.scope["query_string"], "on_unknown").get("on_unknown", "fail")
        if on_unknown not in ("fail", "skip"):
            raise QueryError(f"expected on_unknown=fail or on_unknown=skip, found {on_unknown[:60]!r}")
        timeout_seconds = service.settings.body_timeout_seconds
        with service.bodies.share() as share:
            body = await receive_body(
                body_headers(request.scope), request.receive, _MAX_BYTES, timeout_seconds, share
            )
            labels = await service.pool.run(lambda: _read(body, chosen.manifest.classes))
        taken = await service.pool.run(
            lambda: taking.take(
                chosen.name,
                chosen.identity,
                labels,
                _expected_of(chosen),
                skip_unknown=on_unknown == "skip",
            )
        )
        return TakenBody(**asdict(taken))

    @routes.get("", summary="What labels say of a model", responses=documented(404))
    async def summary(model: str) -> AccuracyBody:
        reading, chosen = book(), service.choose(model)
        found = await service.pool.run(lambda: reading.summary(chosen.identity))
        return _as_body(chosen, found, service.settings.max_drop)

    return routes


def _read(body: bytes, classes: tuple[str, ...]) -> list[Label]:
    """Read labels, and hold their classes against those of the model."""
    try:
        document = _DOCUMENT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"expected JSON of the form {_FORM}: {error}") from error
    indices = {name: index for index, name in enumerate(classes)}
    labels = []
    for place, given in enumerate(document.labels):
        if (given.class_name is None) == (given.class_index is None):
            raise QueryError(f"labels[{place}]: expected class_name or class_index, one of them")
        index = given.class_index if given.class_name is None else indices.get(given.class_name)
        if index is None or not 0 <= index < len(classes):
            found = given.class_index if given.class_name is None else given.class_name[:60]
            raise QueryError(f"labels[{place}]: expected one of {len(classes)} classes, found {found!r}")
        labels.append(Label(given.request_id, given.image, index))
    return labels


def _expected_of(model: ServedModel) -> Expected:
    """What the calibration promises under a budget or a guarantee."""

    def expected(budget_flops: float | None, max_drop: float | None) -> tuple[float, int] | None:
        if model.manifest.truth == "own":  # it was held against the full depth, not against labels
            return None
        plan = model.plan(repr(budget_flops)) if max_drop is None else model.guarantee(max_drop, None).plan
        return plan.expected_accuracy, plan.images

    return expected


def _as_body(model: ServedModel, found: AccuracySummary, max_drop: float | None) -> AccuracyBody:
    certificate = None
    if found.certificate is not None:
        kept = None if max_drop is None else found.certificate.bound <= max_drop
        certificate = TrafficCertificateBody(**asdict(found.certificate), max_drop=max_drop, kept=kept)
    return AccuracyBody(
        model=model.name,
        exits=[
            ExitAccuracyBody(
                exit=number,
                labelled=exit_accuracy.labelled,
                accuracy=exit_accuracy.right / exit_accuracy.labelled,
                interval=exit_accuracy.interval,
            )
            for number, exit_accuracy in found.exits.items()
        ],
        alarm=found.alarm,
        evidence=found.evidence,
        delta=found.delta,
        contradictions=found.contradictions,
        sampled=found.sampled,
        lost=found.lost,
        certificate=certificate,
    )
