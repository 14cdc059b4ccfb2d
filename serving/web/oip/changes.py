"""Changes to the loaded models, as the protocol's repository extension asks for them, over HTTP and gRPC."""

import asyncio
from collections.abc import Callable, Mapping

from serving.errors import AdminOnlyError, RequestError
from serving.web.served import ModelChanges
from serving.web.service import Service

_LOAD = ("version",)
_UNLOAD = ("version", "unload_dependents")
_SHOWN = 60


async def load(service: Service, name: str, parameters: Mapping[str, object]) -> None:
    """Load a model, or replace it by what is in its folder now.

    Args:
        service: which has the models.
        name: of the model.
        parameters: `version` loads that one beside the others.

    Raises:
        RequestError: a parameter that does not exist, or cannot be used.
        OfframpError: as `Repository.load`.
    """
    number = _version(parameters, _LOAD)
    await change(service, lambda repository: repository.load(name, number))


async def unload(service: Service, name: str, parameters: Mapping[str, object]) -> None:
    """Unload a model, or with `version` that one alone; `unload_dependents` changes nothing: there are none.

    Raises:
        RequestError: a parameter that does not exist, or cannot be used.
        OfframpError: as `Repository.unload`.
    """
    number = _version(parameters, _UNLOAD)
    await change(service, lambda repository: repository.unload(name, number))


async def change(service: Service, make: Callable[[ModelChanges], None]) -> None:
    """Make a change in a thread, and wait for it; it goes on where nobody waits any more.

    Raises:
        AdminOnlyError: the models of this server stay as they are.
        OfframpError: it cannot be made.
    """
    repository = service.repository
    if repository is None:
        raise AdminOnlyError("the models of this server stay as they are")
    await asyncio.shield(asyncio.wrap_future(repository.start(lambda: make(repository))))


def _version(parameters: Mapping[str, object], known: tuple[str, ...]) -> str | None:
    for name in parameters:
        if name == "config" or name.startswith("file:"):
            raise RequestError(
                "a model is loaded as its bundle says: its files and settings come from its folder"
            )
        if name not in known:
            raise RequestError(f"unknown parameter {name[:_SHOWN]!r}: expected {' or '.join(known)}")
    number = parameters.get("version")
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, str | int) or not str(number):
        raise RequestError(f"expected version to be the number of a version, found {number!r:.60}")
    return str(number)
