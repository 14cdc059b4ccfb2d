"""`GET /v2/health/live`, `/v2/health/ready` (Open Inference Protocol v2) and `/metrics`."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import JSONResponse, Response

from serving.web.problems import documented, problem
from serving.web.service import Service


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

    @routes.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return routes
