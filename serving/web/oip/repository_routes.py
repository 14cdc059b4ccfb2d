"""`/v2/repository/...`: the models there are, and the changes to them, which `Access` keeps from callers."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.errors import RequestError
from serving.repository.live import Split
from serving.web.oip import changes, repository
from serving.web.oip.repository_body import (
    ChangeDocument,
    IndexDocument,
    SplitDocument,
    VersionDocument,
    read_any,
    read_document,
)
from serving.web.oip.schemas import ChangeBody, IndexEntry, SplitBody, VersionBody
from serving.web.problems import documented
from serving.web.service import Service

_MODEL = "/v2/repository/models/{model}"
_PARAMETERS = 'no body, or {"parameters": {"version": "2"}}'
_SPLIT = 'no body, which ends it, or {"version": "2", "share": 0.1}'
_VERSION = '{"version": "2"}'
_PROBLEMS = documented(400, 403, 404, 408, 409, 413, 422, 429)


def router(service: Service) -> APIRouter:
    """Make the routes over `service`."""
    routes = APIRouter(tags=["Model repository"])

    @routes.post("/v2/repository/index", summary="The models there are", responses=documented(400, 408, 413))
    async def index(request: Request) -> list[IndexEntry]:
        given = await read_document(request, service, IndexDocument, 'no body, or {"ready": true}')
        return [IndexEntry(**entry) for entry in await repository.whole_index(service, ready=given.ready)]

    @routes.post(
        f"{_MODEL}/load",
        summary="Load or replace a model",
        responses=_PROBLEMS,
        openapi_extra=_body(ChangeBody),
    )
    async def load(request: Request, model: str) -> Response:
        """Open what is in the model's folder now beside what answers, then let it answer."""
        given = await read_document(request, service, ChangeDocument, _PARAMETERS)
        await changes.load(service, model, given.parameters)
        return _state(service, model)

    @routes.post(
        f"{_MODEL}/unload", summary="Unload a model", responses=_PROBLEMS, openapi_extra=_body(ChangeBody)
    )
    async def unload(request: Request, model: str) -> Response:
        """Take no more requests for it; those that are in are answered first."""
        given = await read_document(request, service, ChangeDocument, _PARAMETERS)
        await changes.unload(service, model, given.parameters)
        return _state(service, model)

    @routes.post(
        f"{_MODEL}/promote",
        summary="Let a version answer",
        responses=_PROBLEMS,
        openapi_extra=_body(VersionBody),
    )
    async def promote(request: Request, model: str) -> Response:
        """The version before stays loaded, for `rollback`; newer ones in the folder do not take its place."""
        given = await read_document(request, service, VersionDocument, _VERSION)
        await changes.change(service, lambda models: models.promote(model, given.version))
        return _state(service, model)

    @routes.post(f"{_MODEL}/rollback", summary="Let the version before answer again", responses=_PROBLEMS)
    async def rollback(model: str) -> Response:
        await changes.change(service, lambda models: models.rollback(model))
        return _state(service, model)

    @routes.post(
        f"{_MODEL}/canary",
        summary="Send a share of requests to another version",
        responses=_PROBLEMS,
        openapi_extra=_body(SplitBody),
    )
    async def canary(request: Request, model: str) -> Response:
        """Which requests these are depends on their ids alone. Without a body the canary ends."""
        split = await _split(request, service)
        await changes.change(service, lambda models: models.set_canary(model, split))
        return _state(service, model)

    @routes.post(
        f"{_MODEL}/shadow",
        summary="Let another version, or model, see a share of the requests",
        responses=_PROBLEMS,
        openapi_extra=_body(SplitBody),
    )
    async def shadow(request: Request, model: str) -> Response:
        """It answers when the model is idle, and nobody gets its answers. Without a body the shadow ends."""
        split = await _split(request, service)
        await changes.change(service, lambda models: models.set_shadow(model, split))
        return _state(service, model)

    return routes


async def _split(request: Request, service: Service) -> Split | None:
    given = await read_any(request, service, SplitDocument, _SPLIT)
    if given is None:
        return None
    if not 0 < given.share <= 1:
        raise RequestError(f"expected share to be more than 0 and at most 1, found {given.share:g}")
    return Split(given.version, given.share)


def _state(service: Service, name: str) -> Response:
    """Say what answers to a name now."""
    slot = service.loaded.slots.get(name)
    if slot is None:
        return JSONResponse({"name": name, "versions": []})
    return JSONResponse(
        {
            "name": name,
            "versions": list(slot.versions),
            "current": slot.current,
            "previous": slot.previous,
            "canary": slot.canary and asdict(slot.canary),
            "shadow": slot.shadow and asdict(slot.shadow),
        }
    )


def _body(kind: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": kind.model_json_schema()}}}}
