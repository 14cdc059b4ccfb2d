"""A client of the server over HTTP, typed, with retries: `offramp.Client` and `offramp.AsyncClient`."""

from importlib.util import find_spec

if find_spec("httpx") is None:
    raise ImportError("the client needs httpx: pip install 'offramp[client]'")

from serving.client.async_client import AsyncClient
from serving.client.client import Client
from serving.client.errors import ClientError, NoAnswerError, ResponseError, UnexpectedAnswerError
from serving.client.results import (
    Label,
    LabelsTaken,
    Plan,
    PlannedExit,
    ServedExit,
    ServedModel,
    ServerAnswer,
    TopClass,
)

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Label",
    "LabelsTaken",
    "NoAnswerError",
    "Plan",
    "PlannedExit",
    "ResponseError",
    "ServedExit",
    "ServedModel",
    "ServerAnswer",
    "TopClass",
    "UnexpectedAnswerError",
]
