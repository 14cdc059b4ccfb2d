"""The errors of a client.

ClientError
├── ResponseError             the server answered with an error: its status, its detail, the request's id
├── NoAnswerError             no answer came: no connection, a lost one, or the time was up
└── UnexpectedAnswerError     an answer that is not of Offramp's form, or larger than is taken

An image that cannot be read before it is sent is `serving.errors.ImageError`, as in `Model.classify`.
"""

from serving.errors import OfframpError


class ClientError(OfframpError):
    """The root of a client's errors."""

    title = "no answer"


class ResponseError(ClientError):
    """The server refused a request, or failed on it.

    Args:
        status: the HTTP status.
        detail: the problem in the server's words.
        type_: the kind of problem, such as "urn:offramp:problem:unusable-budget"; "about:blank" where the
            answer names none.
        request_id: the server's id of the request; None where the answer has none, as a proxy's.
        retry_after_seconds: when a retry can succeed, as the answer says; None where it does not.
    """

    title = "refused by the server"

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        type_: str = "about:blank",
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        named = "" if request_id is None else f" (request {request_id})"
        super().__init__(f"{status}: {detail}{named}")
        self.status = status
        self.detail = detail
        self.type = type_
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds


class NoAnswerError(ClientError):
    """No answer came: no connection, a lost one, or the time of the call was up."""


class UnexpectedAnswerError(ClientError):
    """An answer that is not of Offramp's form, or larger than is taken."""
