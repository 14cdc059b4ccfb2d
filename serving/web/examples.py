"""Examples in the API's description that work as they are sent: `/docs` fills its forms with them."""

import base64
import io
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from PIL import Image

from serving.repository.folder import ONLY_VERSION
from serving.web.service import Service

_JSON = "application/json"


def show_examples(app: FastAPI, service: Service) -> None:
    """Give what must be filled in an example: a model that this server has, an image that it can read."""
    describe = app.openapi
    chosen = service.settings.default_model or next(iter(sorted(service.models)), "")
    slot = service.loaded.slots.get(chosen)
    parameters = {"model": chosen, "version": slot.current if slot is not None else ONLY_VERSION}
    bodies = _bodies(_image())

    def described() -> dict[str, Any]:
        schema = describe()
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                _fill(operation, parameters, bodies.get(path.rpartition("/")[2]))
        return schema

    app.openapi = described  # type: ignore[method-assign] # FastAPI's own way to change it


def _fill(operation: dict[str, Any], parameters: Mapping[str, str], body: object) -> None:
    for parameter in operation.get("parameters", []):
        if parameter["name"] in parameters:
            parameter["example"] = parameters[parameter["name"]]
    content = operation.get("requestBody", {}).get("content", {})
    if body is not None and _JSON in content:
        # A copy: routes share what describes their bodies.
        operation["requestBody"] = operation["requestBody"] | {
            "content": content | {_JSON: content[_JSON] | {"example": body}}
        }


def _bodies(image: str) -> Mapping[str, object]:
    """Bodies in JSON, by the last part of a path."""
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [image]}
    return {"classify": {"images": [image]}, "infer": {"inputs": [tensor]}}


def _image() -> str:
    """A small image, in base64."""
    with io.BytesIO() as file:
        Image.new("RGB", (8, 8), (11, 107, 76)).save(file, "PNG", optimize=True)
        return base64.b64encode(file.getvalue()).decode()
