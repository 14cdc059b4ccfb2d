"""The protocol's paths, `/v2` and below it, as the API documents them."""

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.web.classify import Classify
from serving.web.oip import repository, signature
from serving.web.oip.http_infer import HttpInfer
from serving.web.oip.infer import Infer
from serving.web.oip.schemas import (
    INFER_BODY,
    INFER_RESPONSE,
    ModelMetadata,
    ServerMetadata,
    StatisticsBody,
)
from serving.web.problems import documented, problem
from serving.web.reading.query import BUDGET_PARAMETER, TERMS_PARAMETERS
from serving.web.served import ServedModel
from serving.web.service import Service

_MODEL = "/v2/models/{model}"


def router(service: Service, classify: Classify, server_version: str) -> APIRouter:
    """Make the routes.

    Args:
        service: models, settings and threads.
        classify: the path that images take.
        server_version: said in the server's metadata.
    """
    routes = APIRouter(tags=["Open Inference Protocol v2"])
    infer = HttpInfer(service, classify, Infer(service, classify))

    @routes.get("/v2", summary="The server's name, version and extensions")
    async def server() -> ServerMetadata:
        extensions = list(signature.HTTP_EXTENSIONS)
        return ServerMetadata(name="offramp", version=server_version, extensions=extensions)

    @routes.get("/v2/models/stats", summary="Totals of all models", response_model=StatisticsBody)
    async def all_statistics() -> dict[str, Any]:
        return {"model_stats": repository.statistics_of(service)}

    async def any_version(model: str) -> AsyncIterator[Chosen]:
        with repository.lease(service, model) as found:
            yield Chosen(model, "", found.model)

    async def one_version(model: str, version: str) -> AsyncIterator[Chosen]:
        with repository.lease(service, model, version) as found:
            yield Chosen(model, version, found.model)

    _add(routes, _MODEL, any_version, service)
    _add(routes, f"{_MODEL}/versions/{{version}}", one_version, service)

    responses: dict[int | str, dict[str, Any]] = {
        200: INFER_RESPONSE,
        **documented(400, 404, 408, 413, 414, 415, 422, 429, 500, 503, 504),
    }
    extra: dict[str, Any] = {
        "parameters": [BUDGET_PARAMETER, *TERMS_PARAMETERS],
        "requestBody": INFER_BODY,
    }
    summary = "Classify images as tensors"

    @routes.post(f"{_MODEL}/infer", summary=summary, responses=responses, openapi_extra=extra)
    async def answer(request: Request, model: str) -> Response:
        """Send tensors as JSON, or as bytes behind it (Inference-Header-Content-Length)."""
        return await infer(model, "", request)

    @routes.post(
        f"{_MODEL}/versions/{{version}}/infer",
        summary=summary,
        responses=responses,
        openapi_extra=extra,
    )
    async def versions_answer(request: Request, model: str, version: str) -> Response:
        """Ask one version, whatever share of the requests it gets."""
        return await infer(model, version, request)

    return routes


class Chosen(NamedTuple):
    """A version of a model, as a path names it: the version is empty where it names none."""

    name: str
    version: str
    model: ServedModel


def _add(
    routes: APIRouter, path: str, choose: Callable[..., AsyncIterator[Chosen]], service: Service
) -> None:
    """Add what a model says of itself; `choose` finds it by what the path names."""
    not_found, chosen = documented(404), Depends(choose)

    @routes.get(path, summary="A model's inputs and outputs", responses=not_found)
    async def metadata(found: Chosen = chosen) -> ModelMetadata:
        versions = list(service.loaded.slot(found.name).versions)
        return ModelMetadata(**signature.metadata_of(found.model, versions))

    @routes.get(f"{path}/ready", summary="Whether a model can be asked", responses=documented(404, 503))
    async def ready(found: Chosen = chosen) -> Response:
        reason = repository.why_unready(service, found.model)
        if reason is not None:
            return problem(503, reason, "not ready")
        return JSONResponse({"name": found.name, "ready": True})

    @routes.get(f"{path}/config", summary="A model's configuration", responses=not_found)
    async def config(found: Chosen = chosen) -> dict[str, Any]:
        return signature.config_of(found.model, service.settings.max_images)

    @routes.get(
        f"{path}/stats", summary="Totals of a model", response_model=StatisticsBody, responses=not_found
    )
    async def statistics(found: Chosen = chosen) -> dict[str, Any]:
        return {"model_stats": repository.statistics_of(service, found.name, found.version)}
