"""Puts the gRPC server together."""

import socket

from serving.telemetry.logs import get_logger
from serving.web.access.control import Access
from serving.web.access.request_ids import RequestIds
from serving.web.app import server_version
from serving.web.classify import Classify
from serving.web.connection.tls import Certificate
from serving.web.grpc.calls import Calls
from serving.web.grpc.closing import Closing
from serving.web.grpc.metrics import GrpcMetrics
from serving.web.grpc.server import GrpcServer
from serving.web.grpc.servicer import Servicer
from serving.web.oip.infer import Infer
from serving.web.service import Service


def make_server(
    service: Service,
    access: Access,
    reserved: socket.socket,
    certificate: Certificate | None = None,
    process: int = 0,
) -> GrpcServer:
    """Build a server over one service.

    Args:
        service: models, settings and metrics.
        access: whose keys count.
        reserved: the address, taken.
        certificate: for TLS; None serves in the clear.
        process: the number of this process among those that serve together.
    """
    closing = Closing()
    calls = Calls(
        service,
        access,
        RequestIds(process),
        GrpcMetrics(service.metrics.registry),
        get_logger(),
        get_logger("offramp.access"),
        closing,
    )
    servicer = Servicer(service, Infer(service, Classify(service)), calls, server_version())
    return GrpcServer(service, servicer, reserved, certificate, closing)
