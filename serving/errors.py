"""The errors of serving, each with its HTTP status.

OfframpError
├── RequestError (400)             the caller asked for something that cannot be done as asked
│   ├── QueryError (422)           a query parameter that does not exist, or comes twice
│   │   └── QueryTooLongError (414) more bytes than any query that makes sense
│   ├── BudgetError (422)          a budget that cannot be read or cannot be met
│   ├── TermsError (422)           parameters that cannot be used, or that do not go together
│   ├── ModelChoiceError (400)     several models are loaded and the request names none
│   ├── UnknownModelError (404)    the request names a model that is not loaded
│   │   └── VersionError (404)     a version that it does not have
│   ├── UnknownRequestError (404)  a label for an answer that is not kept
│   ├── AdminOnlyError (403)       a change to the server, which callers may not make
│   ├── UnusableBundleError (422)  a model that was to be loaded and cannot be
│   ├── ModelMemoryError (409)     a model for which there is no memory
│   ├── RepositoryError (409)      a change to the models that does not fit how they are now
│   ├── ImageError (422)           an image or array that cannot be read
│   │   ├── ImageTypeError (415)   a format that is not served
│   │   └── ImageSizeError (413)   more pixels than are allowed, refused from the header
│   ├── BodyTooLargeError (413)    a body over the limit
│   └── BodyTimeoutError (408)     a body that did not arrive in time
├── DeadlineError (504)            no exit was done for an image when its deadline came
├── OverloadedError (429)          the queue is full: try again after `retry_after_seconds`
│   └── KeyLimitError (429)        the caller's key has asked for more than it may
├── ClosedError (503)              the model is shutting down or its worker died
├── EngineError (500)              the engine failed on a batch that this request was part of
├── SettingsValueError             a flag or a variable that cannot be used (serving.command_line)
├── CaptureError                   captured images that cannot be used
├── HubError                       a repository of the Hugging Face Hub that cannot be used
└── BundleError                    a bundle that cannot be loaded (never part of a request)
"""

from typing import ClassVar


class OfframpError(Exception):
    """The root of every error that Offramp raises on purpose; its text is fit for a user's eyes."""

    status: int = 500
    title: ClassVar[str] = "internal error"


class RequestError(OfframpError):
    """The caller asked for something that cannot be done as asked."""

    status = 400
    title = "bad request"


class QueryError(RequestError):
    """A query parameter that does not exist, or that is given more than once."""

    status = 422
    title = "unusable query"


class QueryTooLongError(QueryError):
    """A query longer than any that makes sense; it is not looked at."""

    status = 414
    title = "query too long"


class BudgetError(RequestError):
    """A budget that cannot be read, or that no exit can meet."""

    status = 422
    title = "unusable budget"


class TermsError(RequestError):
    """A mode, a deadline or a guarantee that cannot be used, or that contradicts another parameter."""

    status = 422
    title = "unusable terms"


class ModelChoiceError(RequestError):
    """Several models are loaded and the request names none of them."""

    title = "no model chosen"


class UnknownModelError(RequestError):
    """The request names a model that is not loaded."""

    status = 404
    title = "unknown model"


class VersionError(UnknownModelError):
    """The request names a version that the model does not have."""

    title = "unknown version"


class UnknownRequestError(RequestError):
    """A label for an answer that was never given, or that is not kept any more."""

    status = 404
    title = "unknown request"


class AdminOnlyError(RequestError):
    """A change to the server itself, which callers may not make."""

    status = 403
    title = "not allowed"


class UnusableBundleError(RequestError):
    """A model that was to be loaded and cannot be; what answered before still does."""

    status = 422
    title = "unusable bundle"


class ModelMemoryError(RequestError):
    """A model for which the limit on loaded models leaves no memory."""

    status = 409
    title = "no memory for the model"


class RepositoryError(RequestError):
    """A change to the models that does not fit how they are now."""

    status = 409
    title = "conflict with the loaded models"


class ImageError(RequestError):
    """An image or an array of images that cannot be read."""

    status = 422
    title = "unreadable image"


class ImageTypeError(ImageError):
    """An image format or a content type that is not served."""

    status = 415
    title = "unsupported type"


class ImageSizeError(ImageError):
    """An image with more pixels than are allowed; refused from its header, before decoding."""

    status = 413
    title = "image too large"


class BodyTooLargeError(RequestError):
    """A request body over the configured limit."""

    status = 413
    title = "body too large"


class BodyTimeoutError(RequestError):
    """A request body that did not arrive in time."""

    status = 408
    title = "body too slow"


class DeadlineError(OfframpError):
    """The deadline came before the first exit was done for every image of the request."""

    status = 504
    title = "deadline passed"


class OverloadedError(OfframpError):
    """The queue is full.

    Args:
        message: what was full.
        retry_after_seconds: when a retry is likely to be admitted.
    """

    status = 429
    title = "too many requests"

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[type["OverloadedError"], tuple[str, float]]:
        """Say how a copy is made, for an error that goes to another process."""
        return type(self), (str(self), self.retry_after_seconds)


class KeyLimitError(OverloadedError):
    """The caller's key has asked for more requests or FLOPs than it may in a second."""

    title = "key over its limit"


class ClosedError(OfframpError):
    """The model takes no more work: it is shutting down, or its worker died."""

    status = 503
    title = "not serving"


class EngineError(OfframpError):
    """The engine failed on a batch that this request was part of."""

    title = "engine failure"


class BundleError(OfframpError):
    """A bundle that cannot be loaded; the message names the bundle, the file and what to do."""

    title = "unusable bundle"


class CaptureError(OfframpError):
    """Captured images that cannot be used; the message names the file and what to do."""

    title = "unusable capture"


class HubError(OfframpError):
    """A repository of the Hugging Face Hub that cannot be used; the message names it and what to do."""

    title = "unusable repository of the Hub"
