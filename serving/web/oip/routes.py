"""The protocol's paths, `/v2` and below it, as the API documents them."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.web.classify import Classify
from serving.web.oip import repository, signature
from serving.web.oip.http_infer import HttpInfer
from serving.web.oip.index_request import read_index_request
from serving.web.oip.infer import Infer
from serving.web.oip.schemas import (
    INFER_BODY,
    INFER_RESPONSE,
    IndexEntry,
    ModelMetadata,
    ServerMetadata,
    StatisticsBody,
)
from serving.web.problems import documented, problem
from serving.web.query import BUDGET_PARAMETER, TERMS_PARAMETERS
from serving.web.service import ServedModel, Service

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
        return {"model_stats": repository.statistics_of(service, list(service.models.values()))}

    @routes.post("/v2/repository/index", summary="The models there are", responses=documented(400, 408, 413))
    async def index(request: Request) -> list[IndexEntry]:
        only_ready = await read_index_request(request, service)
        return [IndexEntry(**entry) for entry in repository.index_of(service, ready=only_ready)]

    async def any_version(model: str) -> ServedModel:
        return repository.choose(service, model)

    async def one_version(model: str, version: str) -> ServedModel:
        return repository.choose(service, model, version)

    _add(routes, _MODEL, any_version, service, infer)
    _add(routes, f"{_MODEL}/versions/{{version}}", one_version, service, infer)
    return routes


def _add(
    routes: APIRouter,
    path: str,
    choose: Callable[..., Awaitable[ServedModel]],
    service: Service,
    infer: HttpInfer,
) -> None:
    """Add the routes of a model; `choose` finds it by what the path names."""
    not_found, chosen = documented(404), Depends(choose)

    @routes.get(path, summary="A model's inputs and outputs", responses=not_found)
    async def metadata(model: ServedModel = chosen) -> ModelMetadata:
        return ModelMetadata(**signature.metadata_of(model))

    @routes.get(f"{path}/ready", summary="Whether a model can be asked", responses=documented(404, 503))
    async def ready(model: ServedModel = chosen) -> Response:
        reason = repository.why_unready(service, model)
        if reason is not None:
            return problem(503, reason, "not ready")
        return JSONResponse({"name": model.name, "ready": True})

    @routes.get(f"{path}/config", summary="A model's configuration", responses=not_found)
    async def config(model: ServedModel = chosen) -> dict[str, Any]:
        return signature.config_of(model, service.settings.max_images)

    @routes.get(
        f"{path}/stats", summary="Totals of a model", response_model=StatisticsBody, responses=not_found
    )
    async def statistics(model: ServedModel = chosen) -> dict[str, Any]:
        return {"model_stats": repository.statistics_of(service, [model])}

    @routes.post(
        f"{path}/infer",
        summary="Classify images as tensors",
        responses={
            200: INFER_RESPONSE,
            **documented(400, 404, 408, 413, 414, 415, 422, 429, 500, 503, 504),
        },
        openapi_extra={"parameters": [BUDGET_PARAMETER, *TERMS_PARAMETERS], "requestBody": INFER_BODY},
    )
    async def answer(request: Request, model: ServedModel = chosen) -> Response:
        """Send tensors as JSON, or as bytes behind it (Inference-Header-Content-Length)."""
        return await infer(model, request)
