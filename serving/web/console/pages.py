"""Serves the console's files, which come with the package: `/` and what that page loads.

Nothing in them comes from elsewhere, and the policy that is sent with them keeps a browser from asking
elsewhere: no script but these files runs, no request goes to another server.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

ASSETS = "/console/assets/"
"""The folder of the files. They hold nothing secret: a browser can only send a key once it has them."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-cache",  # asked for again after an upgrade; answered with 304 until then
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Asset:
    """One file, as it is sent."""

    body: bytes
    media_type: str
    etag: str


def assets(features: Mapping[str, str]) -> dict[str, Asset]:
    """Read the files of the package.

    Args:
        features: given to the page as `data-` attributes of its root, by their names there.

    Returns:
        The files by name, `index.html` and those that it loads.
    """
    found: dict[str, Asset] = {}
    for file in files(__package__).joinpath("static").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in _TYPES:
            body = file.read_bytes()
            if file.name == "index.html":
                told = " ".join(f'data-{name}="{value}"' for name, value in features.items())
                body = body.replace(b'<html lang="en">', f'<html lang="en" {told}>'.encode())
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            found[file.name] = Asset(body, _TYPES[suffix], etag)
    return found


def router(features: Mapping[str, str]) -> APIRouter:
    """Make the routes of `/` and of the files that it loads.

    Args:
        features: as for `assets`.
    """
    routes = APIRouter(include_in_schema=False)
    kept = assets(features)

    def send(name: str, request: Request) -> Response:
        asset = kept.get(name)
        if asset is None:
            raise HTTPException(404)
        headers = {**_HEADERS, "ETag": asset.etag}
        if asset.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(asset.body, headers=headers, media_type=asset.media_type)

    @routes.head("/")
    @routes.get("/")
    async def page(request: Request) -> Response:
        return send("index.html", request)

    @routes.head(ASSETS + "{name}")
    @routes.get(ASSETS + "{name}")
    async def asset(request: Request, name: str) -> Response:
        return send(name, request)

    return routes
