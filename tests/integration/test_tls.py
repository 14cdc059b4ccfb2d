"""The server over TLS: every request is answered, on one connection and on many."""

import http.client
import ssl
from contextlib import closing
from pathlib import Path

import pytest

from tests.bundles import tiny_bundle
from tests.integration.server_process import PATIENCE_SECONDS, Running, server
from tests.tls import certificate


def statuses(running: Running, cert: Path, requests: int) -> list[int]:
    """What so many requests on one connection are answered with."""
    context = ssl.create_default_context(cafile=str(cert))
    with closing(
        http.client.HTTPSConnection("127.0.0.1", running.port, timeout=PATIENCE_SECONDS, context=context)
    ) as connection:
        found = []
        for _ in range(requests):
            connection.request("GET", "/models")
            response = connection.getresponse()
            response.read()
            found.append(response.status)
        return found


def test_every_request_is_answered_and_a_new_certificate_is_shown(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    tiny_bundle(tmp_path / "models" / "tiny")
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--drain-seconds", "0")
    with server(tmp_path / "models", *flags) as running:
        assert statuses(running, cert, 10) == [200] * 10
        assert [statuses(running, cert, 1) for _ in range(4)] == [[200]] * 4
        with pytest.raises((OSError, http.client.HTTPException)):
            running.ask("GET", "/models")
        certificate(tmp_path, "second")
        while True:  # the server looks once a second; until then the new file does not vouch for it
            try:
                assert statuses(running, cert, 1) == [200]
            except ssl.SSLError:
                continue
            break
