"""The standard health service of gRPC, `grpc.health.v1`: the server as "", and each model by its name."""

from typing import Any

from grpc_health.v1 import health, health_pb2

from serving.web.grpc.closing import Closing
from serving.web.grpc.servicer import SERVICE
from serving.web.oip.repository import why_unready
from serving.web.service import Service

_STATUS = health_pb2.HealthCheckResponse


class Health(health.aio.HealthServicer):  # type: ignore[misc] # it publishes no types
    """Says what the readiness of the server and its models is now.

    Args:
        service: the source of the state.
        closing: set when the server stops: watchers then get the state, and their calls end.
    """

    def __init__(self, service: Service, closing: Closing) -> None:
        super().__init__()
        self._service, self._closing = service, closing
        self._known: set[str] = set()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Look, then answer."""
        await self.refresh()
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """Tell of changes, until the server stops."""
        await self._closing.unless(super().Watch(request, context))

    async def refresh(self) -> None:
        """Read the state again, and send it to the watchers."""
        service = self._service
        unready = {"": service.unready, SERVICE: service.unready}
        unready |= {name: why_unready(service, model) for name, model in service.models.items()}
        for name, reason in unready.items():
            await self.set(name, _STATUS.SERVING if reason is None else _STATUS.NOT_SERVING)
        for name in self._known - unready.keys():
            await self.set(name, _STATUS.SERVICE_UNKNOWN)
        self._known = set(unready)
