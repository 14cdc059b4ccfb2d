"""Keys in the API's description: clients that are made from it send one, and `/docs` asks for one."""

from typing import Any

from fastapi import FastAPI

from serving.web.access.control import HEALTH
from serving.web.problems import documented

_SCHEME = "key"


def describe_keys(app: FastAPI) -> None:
    """Say that every operation of an app wants a key, but for those of a health probe."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        schema = describe()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[_SCHEME] = {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of this server, from whoever runs it (`--api-keys-file`).",
        }
        schema["security"] = [{_SCHEME: []}]
        refusals = {str(status): body for status, body in documented(401, 429).items()}
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                if path in HEALTH:
                    operation["security"] = []
                else:
                    operation["responses"] = refusals | operation["responses"]
        return schema

    app.openapi = described  # type: ignore[method-assign] # FastAPI's own way to change it
