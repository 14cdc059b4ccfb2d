"""Prometheus metrics of gRPC calls; imports nothing of gRPC."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GrpcMetrics:
    """Counts calls.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "offramp_grpc_requests", "gRPC calls answered.", ("method", "code"), registry=registry
        )
        self.seconds = Histogram(
            "offramp_grpc_request_seconds",
            "From the receipt of a gRPC call to the end of its answer.",
            ("method",),
            buckets=_SECONDS,
            registry=registry,
        )
