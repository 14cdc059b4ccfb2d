"""`GET /models/{model}/live`: what a model did of late, second by second, and how it is doing."""

import json
from dataclasses import asdict

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.errors import QueryError
from serving.system.resources import resources
from serving.telemetry.live import KEPT_SECONDS
from serving.web.problems import documented
from serving.web.reading.query import read_query
from serving.web.routes.models import health_of
from serving.web.schemas import LiveBody
from serving.web.service import Service

_MOST_DIGITS = 12

_SINCE = {
    "name": "since",
    "in": "query",
    "description": "The first second that is asked for: `next` of the last answer; else all that is kept.",
    "schema": {"type": "integer", "minimum": 0, "default": 0},
}


def router(service: Service) -> APIRouter:
    """Make the route over `service`."""
    routes = APIRouter(prefix="/models")
    cores = resources().cores

    @routes.get(
        "/{model}/live",
        summary="Its last minutes, second by second",
        response_model=LiveBody,
        responses=documented(404, 422),
        openapi_extra={"parameters": [_SINCE]},
    )
    async def live(request: Request, model: str) -> Response:
        """Ask again with `since` set to `next`, and get only what is new."""
        chosen = service.choose(model)
        since = _whole(read_query(request.scope["query_string"], "since").get("since", "0"))
        recent = asdict(service.live.since(chosen.name, since, len(chosen.exit_flops)))
        body = {
            "model": chosen.name,
            "kept_seconds": KEPT_SECONDS,
            "next": recent["first"] + len(recent["batches"]),
            "full_flops": chosen.exit_flops[-1],
            "image_seconds": list(chosen.image_seconds()),
            "threads": service.settings.threads or cores,
            **recent,
            "health": health_of(chosen).model_dump(),
        }
        # Not through the framework, which would check every number again: tabs ask every other second.
        return Response(json.dumps(body, separators=(",", ":")).encode(), media_type="application/json")

    return routes


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise QueryError(f"expected since to be a whole number of seconds, found {text[:60]!r}")
    return int(text)
