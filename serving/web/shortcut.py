"""The way to the hot path that no framework stands on."""

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from serving.errors import OfframpError
from serving.web.endpoint import Classify
from serving.web.problems import problem_of


class Shortcut:
    """An ASGI app that is `POST /classify` alone, its errors included.

    Args:
        classify: what answers.
        logger: gets what clients are not to see.
    """

    def __init__(self, classify: Classify, logger: FilteringBoundLogger) -> None:
        self._classify = classify
        self._logger = logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what nobody expected is raised again once it was answered, for the log."""
        try:
            response = await self._classify(scope, receive)
        except (OfframpError, ClientDisconnect) as error:
            await problem_of(error, self._logger)(scope, receive, send)
        except Exception as error:
            await problem_of(error, self._logger)(scope, receive, send)
            raise
        else:
            await response(scope, receive, send)
