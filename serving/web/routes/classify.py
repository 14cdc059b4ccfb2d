"""The route of `POST /classify`, as the API documents it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.images.decode import CONTENT_TYPES, UNTYPED
from serving.web.classify import Classify
from serving.web.problems import documented
from serving.web.reading.form import FORM_TYPE
from serving.web.reading.images import JSON_TYPE, NPY_TYPE
from serving.web.reading.query import (
    BUDGET_PARAMETER,
    FORM_PARAMETERS,
    MODEL_PARAMETER,
    TERMS_PARAMETERS,
    VERSION_PARAMETER,
)
from serving.web.schemas import AnswerBody, AnswersBody, ImagesBody, binary

PATH = "/classify"

_FILE = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {"image": _FILE, "images": {"type": "array", "items": _FILE, "minItems": 1}},
    "oneOf": [{"required": ["image"]}, {"required": ["images"]}],
    "additionalProperties": False,
}
_BODY = {
    "required": True,
    # JSON comes first: it has an example, which the page at /docs then sends as it is.
    "content": {JSON_TYPE: {"schema": ImagesBody.model_json_schema()}}
    | binary(*CONTENT_TYPES.values(), *filter(None, UNTYPED), NPY_TYPE)
    | {FORM_TYPE: {"schema": _FORM}},
}


def router(classify: Classify) -> APIRouter:
    """Make the route, which documents it; a `ClassifyApp` past the framework leads to the same."""
    routes = APIRouter()

    @routes.post(
        PATH,
        summary="Classify images under a budget",
        responses={
            200: {"model": AnswerBody | AnswersBody},
            **documented(400, 404, 408, 413, 415, 422, 429, 500, 503, 504),
        },
        openapi_extra={
            "parameters": [
                BUDGET_PARAMETER,
                *TERMS_PARAMETERS,
                MODEL_PARAMETER,
                VERSION_PARAMETER,
                *FORM_PARAMETERS,
            ],
            "requestBody": _BODY,
        },
    )
    async def route(request: Request) -> Response:
        """Send one image as it is, several as JSON with base64, as an `.npy` array, or as files of a form.

        One image is answered with one object, a list with `{"results": [...]}`. Where one image of a list
        cannot be read, the request fails whole and the problem names the image's index.
        """
        return await classify(request.scope, request.receive)

    return routes
