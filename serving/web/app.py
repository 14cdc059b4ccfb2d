"""Puts the HTTP application together."""

import platform
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from serving.telemetry.logs import get_logger
from serving.web import classify_route, health_routes, labels_route, live_route, models_routes, problems
from serving.web.access import Access
from serving.web.classify import Classify, ClassifyApp
from serving.web.console import pages
from serving.web.examples import show_examples
from serving.web.gate import ServerMiddleware
from serving.web.oip import routes as oip_routes
from serving.web.query import PARAMETERS
from serving.web.request_ids import RequestIds
from serving.web.service import Service

ANYBODY = Access()


def create_app(service: Service, access: Access = ANYBODY, process: int = 0) -> ServerMiddleware:
    """Build the application over one service; nothing is global, so that tests may hold several.

    Args:
        service: models, settings and metrics.
        access: who may ask what; anybody anything by default.
        process: the number of this process among those that serve together.
    """
    app: FastAPI = FastAPIOffline(
        title="Offramp",
        summary="Early-exit image classification: every request says what it may cost.",
        version=server_version(),
        redoc_url=None,
        static_url="/docs/assets",
        redirect_slashes=False,
    )
    logger, hot = get_logger(), Classify(service)
    for routes in (
        classify_route.router(hot),
        models_routes.router(service),
        live_route.router(service),
        labels_route.router(service),
        health_routes.router(service),
        oip_routes.router(service, hot, server_version()),
    ):
        app.include_router(routes)
    if service.settings.console:
        app.include_router(pages.router({"explain": "yes" if "explain" in PARAMETERS else "no"}))
    show_examples(app, service)
    problems.install(app, logger)
    for model in service.models.values():
        heads = [segment.head_flops for segment in model.manifest.segments]
        service.metrics.loaded(model.name, model.exit_flops, heads)
        service.metrics.runs_on(model.name, model.providers, model.features_on)
    service.metrics.built(server_version(), platform.python_version())
    shortcuts = {("POST", classify_route.PATH): ClassifyApp(hot, logger)}
    return ServerMiddleware(
        app, service, get_logger("offramp.access"), shortcuts, access, RequestIds(process)
    )


def server_version() -> str:
    """Return the version of the installed package."""
    try:
        return version("offramp")
    except PackageNotFoundError:  # Run from a checkout that is not installed.
        return "0"
