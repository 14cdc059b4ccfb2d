"""Puts the HTTP application together."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from serving.logs import get_logger
from serving.web import classify, health, models, problems
from serving.web.gate import Gate
from serving.web.service import Service


def create_app(service: Service) -> FastAPI:
    """Build the application over one service; nothing is global, so that tests may hold several.

    Args:
        service: models, settings and metrics.
    """
    app = FastAPI(
        title="Offramp",
        summary="Early-exit image classification: every request says what it may cost.",
        version=_version(),
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (classify.router, models.router, health.router):
        app.include_router(router(service))
    problems.install(app, get_logger())
    app.add_middleware(Gate, service=service, logger=get_logger("offramp.access"))
    for model in service.models.values():
        service.metrics.loaded(model.name, model.exit_flops)
        service.metrics.runs_on(model.name, model.providers, model.features_on)
    return app


def _version() -> str:
    try:
        return version("offramp")
    except PackageNotFoundError:  # Run from a checkout that is not installed.
        return "0"
