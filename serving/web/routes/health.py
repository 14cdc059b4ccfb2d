"""`GET /v2/health/live`, `/v2/health/ready` (Open Inference Protocol v2) and `/metrics`."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.web.problems import documented, problem
from serving.web.service import Service

_METRICS_TYPES = ("text/plain", "application/openmetrics-text")


def router(service: Service) -> APIRouter:
    """Make the routes over `service`."""
    routes = APIRouter()
    # Some load balancers probe with HEAD.

    @routes.head("/v2/health/live", include_in_schema=False)
    @routes.get("/v2/health/live", summary="Whether the process is worth keeping", responses=documented(503))
    async def live() -> Response:
        if service.dead:
            return problem(503, service.dead, "not alive")
        return JSONResponse({"live": True})

    @routes.head("/v2/health/ready", include_in_schema=False)
    @routes.get("/v2/health/ready", summary="Whether to send traffic", responses=documented(503))
    async def ready() -> Response:
        if service.unready:
            return problem(503, service.unready, "not ready")
        return JSONResponse({"ready": True})

    @routes.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in _METRICS_TYPES}}},
    )
    async def metrics(request: Request) -> Response:
        """In the text format, or as OpenMetrics, with exemplars, where `Accept` names that."""
        text, media_type = service.metrics.exposition(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": media_type})

    return routes
