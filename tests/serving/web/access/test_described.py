"""The description asks for a key where the server does, and nowhere else."""

from pathlib import Path
from typing import Any

import structlog
from starlette.testclient import TestClient

from serving.web.access.control import HEALTH, Access
from serving.web.access.keys import KeyRing
from serving.web.app import create_app
from tests.serving.web.access.test_control import line
from tests.serving.web.fakes import fake_service


def described(access: Access) -> Any:
    http = TestClient(create_app(fake_service()[0], access), base_url="http://localhost")
    http.get("/openapi.json")
    return http.get("/openapi.json").json()  # the second comes from what was kept


def test_with_keys_every_operation_wants_one_but_for_a_health_probe(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(line("ann", "secret"))
    found = described(Access(keys=KeyRing(tmp_path / "keys", structlog.get_logger())))
    (scheme,) = found["security"]
    (name,) = scheme
    declared = found["components"]["securitySchemes"][name]
    assert (declared["type"], declared["scheme"]) == ("http", "bearer")
    for path, operations in found["paths"].items():
        for operation in operations.values():
            assert operation.get("security") == ([] if path in HEALTH else None), path
            assert ("401" in operation["responses"]) is (path not in HEALTH), path


def test_without_keys_nothing_speaks_of_one() -> None:
    found = described(Access())
    assert "security" not in found
    assert "securitySchemes" not in found.get("components", {})
