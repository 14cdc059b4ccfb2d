"""The page of a run over HTTP, on this machine alone: the console's look, the run's own files."""

import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from training.errors import RunError
from training.watching.reading import snapshot

_HOST = "127.0.0.1"
_NAMES = (_HOST, "localhost")
_OWN = ("index.html", "watch.js")
_CONSOLE = ("charts.js", "console.css", "dom.js", "format.js", "icon.svg", "uplot.css", "uplot.js")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def watch_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Bind a server of one run's page; `serve_forever` serves it.

    Args:
        folder: the run folder.
        port: 0 for a free one.

    Raises:
        RunError: the folder is no run, or the port is taken.
    """
    snapshot(folder)
    own, console = files("training.watching") / "static", files("serving") / "web" / "console" / "static"
    assets = {name: (own / name).read_bytes() for name in _OWN}
    assets |= {name: (console / name).read_bytes() for name in _CONSOLE}

    class Handler(_Handler):
        pass

    Handler.assets, Handler.folder = assets, folder
    try:
        return _Server((_HOST, port), Handler)
    except OSError as error:
        raise RunError(f"port {port} of {_HOST} cannot be had: {error.strerror}; name another") from error


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a tab that was closed while it was answered."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """Answers GET of `/`, `/run.json` and `/assets/NAME`."""

    assets: dict[str, bytes]
    folder: Path
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds for which an idle connection is kept

    def do_GET(self) -> None:
        """Answer one request."""
        # Another site's page may lead its own name to this address: its name is not one of ours.
        if self.headers.get("Host", "").rpartition(":")[0] not in _NAMES:
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"", "text/plain")
            return
        path = urlsplit(self.path).path
        name = "index.html" if path == "/" else path.removeprefix("/assets/")
        if path == "/run.json":
            try:
                self._json(HTTPStatus.OK, snapshot(self.folder))
            except (RunError, OSError) as error:
                self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": str(error)})
        elif path == f"/assets/{name}" or name == "index.html":
            body = self.assets.get(name)
            kind = _TYPES[Path(name).suffix] if body is not None else "text/plain"
            self._send(HTTPStatus.NOT_FOUND if body is None else HTTPStatus.OK, body or b"", kind)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal may be that of the training."""

    def _json(self, status: HTTPStatus, body: object) -> None:
        self._send(status, json.dumps(body, allow_nan=False).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)
