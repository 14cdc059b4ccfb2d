"""One real server for the tests of both clients; it asks for a key, and takes labels."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.bundles import tiny_bundle
from tests.integration.server_process import server
from tests.serving.client.talking import KEY


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").folder


@pytest.fixture(scope="package")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"ann:normal:{sha256(KEY.encode()).hexdigest()}\n")
    with server(folder.parent, "--allow-admin", "--api-keys-file", str(keys), "--max-images", "4") as running:
        yield f"http://127.0.0.1:{running.port}"
