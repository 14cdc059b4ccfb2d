"""Puts the HTTP application together."""

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from serving.telemetry.logs import get_logger
from serving.web import problems
from serving.web.access.control import Access
from serving.web.access.described import describe_keys
from serving.web.access.request_ids import RequestIds
from serving.web.api_page.page import add_api_page
from serving.web.classify import Classify, ClassifyApp
from serving.web.connection.gate import ServerMiddleware
from serving.web.console import pages
from serving.web.examples import show_examples
from serving.web.oip import repository_routes
from serving.web.oip import routes as oip_routes
from serving.web.oip.json_request import LENGTH_HEADER
from serving.web.reading.query import PARAMETERS
from serving.web.routes import classify as classify_route
from serving.web.routes import compare as compare_route
from serving.web.routes import health as health_routes
from serving.web.routes import labels as labels_route
from serving.web.routes import live as live_route
from serving.web.routes import models as models_routes
from serving.web.routes import recent as recent_route
from serving.web.routes import samples as samples_route
from serving.web.service import Service

ANYBODY = Access()
_ALLOWED_HEADERS = (
    *("Authorization", "Content-Type", "X-Request-ID", "traceparent", "tracestate"),
    LENGTH_HEADER,
)
_EXPOSED_HEADERS = (
    *("Offramp-Request-ID", "Offramp-Brownout", "Server-Timing", "X-Request-ID", "Retry-After"),
    LENGTH_HEADER,
)
"""Of requests and answers of pages from other origins, where such may ask (`--cors-origins`)."""


def create_app(
    service: Service,
    access: Access = ANYBODY,
    process: int = 0,
    relayed: Callable[[ASGIApp], ASGIApp] | None = None,
) -> ServerMiddleware:
    """Build the application over one service; nothing is global, so that tests may hold several.

    Args:
        service: models, settings and metrics.
        access: who may ask what; anybody anything by default.
        process: the number of this process among those that serve together.
        relayed: puts between the gate and the routes what has other processes answer.
    """
    app = FastAPI(
        title="Offramp",
        summary="Early-exit image classification: every request says what it may cost.",
        version=server_version(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    logger, hot = get_logger(), Classify(service)
    for routes in (
        classify_route.router(hot),
        models_routes.router(service),
        live_route.router(service),
        compare_route.router(service),
        recent_route.router(service),
        samples_route.router(service),
        labels_route.router(service),
        health_routes.router(service),
        oip_routes.router(service, hot, server_version()),
        repository_routes.router(service),
    ):
        app.include_router(routes)
    settings = service.settings
    if settings.console:
        gallery = settings.keep_recent and (settings.allow_admin or settings.admin_port is not None)
        features = {"explain": "explain" in PARAMETERS, "gallery": gallery}
        app.include_router(pages.router({name: "yes" if on else "no" for name, on in features.items()}))
    add_api_page(app)
    show_examples(app, service)
    if access.keys is not None:
        describe_keys(app)
    problems.install(app, logger)
    for model in service.models.values():
        heads = [segment.head_flops for segment in model.manifest.segments]
        service.metrics.loaded(model.name, model.exit_flops, heads)
        computed = model.arithmetic
        service.metrics.runs_on(
            model.name, model.providers, model.features_on, computed.runtime, computed.precision
        )
        service.metrics.timed(model.name, model.exit_seconds)
    service.metrics.built(server_version(), platform.python_version())
    shortcuts = {("POST", classify_route.PATH): ClassifyApp(hot, logger)}
    inner: ASGIApp = app if relayed is None else relayed(app)
    if not service.computes:
        shortcuts = {}
    return ServerMiddleware(
        inner, service, get_logger("offramp.access"), shortcuts, access, RequestIds(process)
    )


def open_to_origins(app: ServerMiddleware, origins: Sequence[str] | None) -> ASGIApp:
    """Let pages of other origins ask an application; None lets none."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=_ALLOWED_HEADERS,
        expose_headers=_EXPOSED_HEADERS,
    )


def server_version() -> str:
    """Return the version of the installed package."""
    try:
        return version("offramp")
    except PackageNotFoundError:  # Run from a checkout that is not installed.
        return "0"
