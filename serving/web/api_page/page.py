"""Serves Swagger UI, whose files come with the package fastapi-offline, and the page that starts it.

A key may be typed into the page: as the console's, it loads nothing from elsewhere, asks nobody else, and
cannot be framed. Its styles alone are not held to files: Swagger UI writes some into elements.
"""

from importlib.resources import files

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


def add_api_page(app: FastAPI) -> None:
    """Add `/docs` and its files to an app."""
    own = files(__package__)
    page, start = own.joinpath("page.html").read_bytes(), own.joinpath("start.js").read_bytes()
    app.mount("/docs/assets", StaticFiles(packages=[("fastapi_offline", "static")]))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(page, headers=_HEADERS, media_type="text/html")

    @app.get("/docs/start.js", include_in_schema=False)
    async def script() -> Response:
        return Response(start, headers=_HEADERS, media_type="text/javascript")
