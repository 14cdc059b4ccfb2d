"""The library that speaks with the Hub, and its errors in our words."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

from serving.errors import HubError
from serving.hub.names import HubName

_TRANSPORT = ("httpx", "httpx2", "httpcore", "requests")


def library() -> ModuleType:
    """Import the library; on a terminal it shows its progress, elsewhere it is quiet.

    Raises:
        HubError: it is not installed.
    """
    if find_spec("huggingface_hub") is None:
        raise HubError("the Hub needs huggingface_hub: pip install 'offramp[hub]'")
    import huggingface_hub.errors
    import huggingface_hub.hf_api
    import huggingface_hub.utils

    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined] # of its `utils.tqdm`
    return huggingface_hub


class UnreachableError(HubError):
    """The Hub cannot be asked now: no network, or told to stay offline."""


@contextmanager
def explained(named: HubName) -> Iterator[None]:
    """Say in our words what went wrong.

    Args:
        named: the repository that is spoken of.

    Raises:
        UnreachableError: the Hub cannot be asked now.
        HubError: it said no.
    """
    try:
        yield
    except Exception as error:
        reason = _refusal(named, error)
        if reason is not None:
            raise HubError(f"{named}: {reason}") from error
        reason = _absence(error)
        if reason is not None:
            raise UnreachableError(reason) from error
        raise


def _refusal(named: HubName, error: Exception) -> str | None:
    """Say why the Hub refused; None where it did not."""
    errors = library().errors
    said = {
        errors.GatedRepoError: "its owner grants access on request: ask on its page, and give HF_TOKEN",
        errors.RepositoryNotFoundError: "no such repository, or a private one: HF_TOKEN opens those",
        errors.RevisionNotFoundError: f"the repository has no revision {named.revision!r}",
        errors.HFValidationError: f"no name of a repository: {_first_line(error)}",
    }
    for kind, reason in said.items():
        if isinstance(error, kind):
            return reason
    status = _status(error)
    if status in (401, 403):
        return f"not allowed ({status}): give a token with that right in HF_TOKEN"
    return None if status is None or _passes(status) else _first_line(error)


def _absence(error: Exception) -> str | None:
    """Say why the Hub cannot be asked now; None where it can."""
    status = _status(error)
    if status is not None:
        return f"the Hub answered {status}"
    if isinstance(error, library().errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if type(error).__module__.partition(".")[0] in _TRANSPORT:
        return f"the Hub cannot be reached ({_first_line(error)})"
    return None


def _status(error: Exception) -> int | None:
    if not isinstance(error, library().errors.HfHubHTTPError):
        return None
    status: int = error.response.status_code
    return status


def _passes(status: int) -> bool:
    """Whether an answer says that another try may succeed."""
    return status in (408, 429) or status >= 500


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
