"""The route of `POST /classify`, as the API documents it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.ask import MODES
from serving.preprocess import CONTENT_TYPES, UNTYPED
from serving.web.body import JSON_TYPE, NPY_TYPE
from serving.web.endpoint import Classify
from serving.web.problems import documented
from serving.web.schemas import AnswerBody, AnswersBody, ImagesBody, binary

PATH = "/classify"

BUDGET_PARAMETER = {
    "name": "budget",
    "in": "query",
    "description": "What an image may cost on average: `150MFLOPs`, `0.15GFLOPs`, `1.5e8`, or `50%` of the "
    "full depth. The server's default where absent.",
    "schema": {"type": "string"},
}
MAX_DROP_PARAMETER = {
    "name": "max_drop",
    "in": "query",
    "description": "The share of answers that leaving early may lose, but for the chance that the server's "
    "`--guarantee-delta` allows; a `budget` beside it is a cap on what that may cost. Goes with neither "
    "`mode=hard` nor `deadline_ms`.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
}
_TERMS_PARAMETERS = [
    {
        "name": "mode",
        "in": "query",
        "description": "`average`: the budget holds over all requests that ask for it. `hard`: the images of "
        "this request never cost more than their number times the budget.",
        "schema": {"type": "string", "enum": list(MODES), "default": "average"},
    },
    {
        "name": "deadline_ms",
        "in": "query",
        "description": "Milliseconds from the receipt of the request's headers: each image is answered by "
        "the deepest exit that is done by then.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    MAX_DROP_PARAMETER,
]
_MODEL_PARAMETER = {
    "name": "model",
    "in": "query",
    "description": "Which model; needed where several are loaded and none is the default.",
    "schema": {"type": "string"},
}
_BODY = {
    "required": True,
    "content": binary(*CONTENT_TYPES.values(), *filter(None, UNTYPED), NPY_TYPE)
    | {JSON_TYPE: {"schema": ImagesBody.model_json_schema()}},
}


def router(classify: Classify) -> APIRouter:
    """Make the route, which documents it; a `Shortcut` past the framework leads to the same."""
    routes = APIRouter()

    @routes.post(
        PATH,
        summary="Classify images under a budget",
        responses={
            200: {"model": AnswerBody | AnswersBody},
            **documented(400, 404, 408, 413, 415, 422, 429, 500, 503, 504),
        },
        openapi_extra={
            "parameters": [BUDGET_PARAMETER, *_TERMS_PARAMETERS, _MODEL_PARAMETER],
            "requestBody": _BODY,
        },
    )
    async def route(request: Request) -> Response:
        """Send one image as it is, several as JSON with base64 or as an `.npy` array.

        One image is answered with one object, a list with `{"results": [...]}`. Where one image of a list
        cannot be read, the request fails whole and the problem names the image's index.
        """
        return await classify(request.scope, request.receive)

    return routes
