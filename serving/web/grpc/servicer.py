"""The protocol's calls, each over what answers the same over HTTP."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from serving.errors import AdminOnlyError, BodyTooLargeError, OfframpError
from serving.events import RequestRefused
from serving.web.grpc import messages
from serving.web.grpc import open_inference_pb2 as pb
from serving.web.grpc.calls import PRIORITY, REQUEST_ID, Calls, Method
from serving.web.oip import changes, repository, signature
from serving.web.oip.infer import INLINE_BYTES, Infer, Inference
from serving.web.oip.request import InferRequest
from serving.web.service import Service

SERVICE = "inference.GRPCInferenceService"
OPEN_TO_ALL = ("ServerLive", "ServerReady")
_OTHER_FIELDS = 1000
"""The most fields of a message beside its images."""
_MOST_PLAIN_BYTES = 64 * 1024
"""Of a message that brings no images."""


@dataclass
class GrpcCaller:
    """The caller of a request; a call that ends early is cancelled by gRPC itself."""

    disconnected: bool = False
    more_body: bool = False
    message_event: asyncio.Event = field(default_factory=asyncio.Event)


class Servicer:
    """Answers calls.

    Args:
        service: models, settings and threads.
        infer: answers inference requests.
        calls: what every call goes through.
        server_version: said in the server's metadata.
    """

    def __init__(self, service: Service, infer: Infer, calls: Calls, server_version: str) -> None:
        self._service, self._infer, self._calls, self._version = service, infer, calls, server_version

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the methods by name; inference gets bytes, which are counted before they are read."""
        found = {
            name: grpc.unary_unary_rpc_method_handler(
                self._calls.unary(name, _small(message, method), open_to_all=name in OPEN_TO_ALL),
                response_serializer=_serialized,
            )
            for name, message, method in self._plain_methods()
        }
        found["ModelInfer"] = grpc.unary_unary_rpc_method_handler(
            self._calls.unary("ModelInfer", self._model_infer), response_serializer=_serialized
        )
        found["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._calls.stream("ModelStreamInfer", self._stream_one), response_serializer=_serialized
        )
        return grpc.method_handlers_generic_handler(SERVICE, found)

    def _plain_methods(self) -> Sequence[tuple[str, Any, Callable[[Any, Any], Any]]]:
        return (
            ("ServerLive", pb.ServerLiveRequest, self._live),
            ("ServerReady", pb.ServerReadyRequest, self._ready),
            ("ModelReady", pb.ModelReadyRequest, self._model_ready),
            ("ServerMetadata", pb.ServerMetadataRequest, self._metadata),
            ("ModelMetadata", pb.ModelMetadataRequest, self._model_metadata),
            ("ModelConfig", pb.ModelConfigRequest, self._config),
            ("ModelStatistics", pb.ModelStatisticsRequest, self._statistics),
            ("RepositoryIndex", pb.RepositoryIndexRequest, self._index),
            ("RepositoryModelLoad", pb.RepositoryModelRequest, self._load),
            ("RepositoryModelUnload", pb.RepositoryModelRequest, self._unload),
        )

    async def _live(self, request: Any, context: Any) -> Any:
        return pb.ServerLiveResponse(live=self._service.dead is None)

    async def _ready(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._service.unready is None)

    async def _model_ready(self, request: Any, context: Any) -> Any:
        with repository.lease(self._service, request.name, request.version) as found:
            return pb.ModelReadyResponse(ready=repository.why_unready(self._service, found.model) is None)

    async def _metadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(
            name="offramp", version=self._version, extensions=signature.EXTENSIONS
        )

    async def _model_metadata(self, request: Any, context: Any) -> Any:
        with repository.lease(self._service, request.name, request.version) as found:
            versions = list(self._service.loaded.slot(request.name).versions)
            document = signature.metadata_of(found.model, versions)
        return messages.fill(pb.ModelMetadataResponse(), document)

    async def _config(self, request: Any, context: Any) -> Any:
        with repository.lease(self._service, request.name, request.version) as found:
            config = signature.config_of(found.model, self._service.settings.max_images)
        return messages.fill(pb.ModelConfigResponse(), {"config": config})

    async def _statistics(self, request: Any, context: Any) -> Any:
        found = repository.statistics_of(self._service, request.name, request.version)
        return messages.fill(pb.ModelStatisticsResponse(), {"model_stats": found})

    async def _index(self, request: Any, context: Any) -> Any:
        found = await repository.whole_index(self._service, ready=request.ready)
        return messages.fill(pb.RepositoryIndexResponse(), {"models": found})

    async def _load(self, request: Any, context: Any) -> Any:
        self._refuse_callers()
        await changes.load(self._service, request.model_name, messages.repository_parameters(request))
        return pb.RepositoryModelResponse()

    async def _unload(self, request: Any, context: Any) -> Any:
        self._refuse_callers()
        await changes.unload(self._service, request.model_name, messages.repository_parameters(request))
        return pb.RepositoryModelResponse()

    def _refuse_callers(self) -> None:
        if not self._service.settings.allow_admin:
            raise AdminOnlyError("callers may not change the models of this server (--allow-admin)")

    async def _model_infer(self, raw: bytes, context: Any) -> Any:
        return await self._answer(raw)

    async def _stream_one(self, raw: bytes) -> Any:
        try:
            self._calls.count()
            return pb.ModelStreamInferResponse(infer_response=await self._answer(raw))
        except OfframpError as error:  # one request of a stream, not the stream
            return pb.ModelStreamInferResponse(error_message=self._calls.told(error))

    async def _answer(self, raw: bytes) -> pb.ModelInferResponse:
        try:
            answer = await self._start(raw)
        except OfframpError as error:
            self._service.emit(RequestRefused(type(error).__name__))
            raise
        return messages.response_of(answer())

    async def _start(self, raw: bytes) -> Callable[[], Inference]:
        received_at, service = time.monotonic(), self._service
        if len(raw) > service.settings.max_body_bytes:
            raise BodyTooLargeError(
                f"expected a message of at most {service.settings.max_body_bytes} bytes, found {len(raw)}: "
                "send fewer or smaller images"
            )
        with service.bodies.share() as share:
            share.add(len(raw))
            if len(raw) <= INLINE_BYTES:
                name, version, request = self._taken_apart(raw)
            else:
                name, version, request = await service.pool.run(lambda: self._taken_apart(raw))
            with repository.lease(service, name, version, REQUEST_ID.get()) as found:
                return await self._infer.start(
                    found,
                    request,
                    GrpcCaller(),
                    received_at,
                    priority=PRIORITY.get(),
                    server_id=REQUEST_ID.get(),
                )

    def _taken_apart(self, raw: bytes) -> tuple[str, str, InferRequest]:
        most_fields = self._service.read_limits.images + _OTHER_FIELDS
        message = messages.parse(pb.ModelInferRequest, raw, most_fields)
        return message.model_name, message.model_version, messages.request_of(message)


def _small(kind: type[Message], method: Method) -> Method:
    """Have a method take bytes, which are counted before they are read."""

    async def small(raw: bytes, context: Any) -> Any:
        if len(raw) > _MOST_PLAIN_BYTES:
            raise BodyTooLargeError(
                f"expected a message of at most {_MOST_PLAIN_BYTES} bytes, found {len(raw)}"
            )
        return await method(messages.parse(kind, raw, _OTHER_FIELDS), context)

    return small


def _serialized(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized
