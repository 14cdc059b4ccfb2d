"""The calls between parent and child, by name, and what a child is told and says first."""

from dataclasses import dataclass

from serving.processes.layout import Share
from serving.settings import Settings

BEGIN, STOP, GATHER, CHANGE = "begin", "stop", "gather", "change"
PLAN, GUARANTEE, SAMPLES, ON_DISK = "plan", "guarantee", "samples", "on_disk"
"""What a parent asks of a child."""
JOINED, FAILED, READY = "joined", "failed", "ready"
"""What a child says on its way to serving."""


@dataclass(frozen=True)
class Start:
    """What a child is told first.

    Attributes:
        settings: of this process.
        share: its number, threads and cores.
        public: descriptor of the socket that all children share.
        limits: descriptor of what API keys may still ask for.
        connections: descriptor of how many connections each process has.
        grpc_address: where it serves gRPC; None where it does not.
        admin_port: of the parent.
        started: the second of `time.monotonic` at which the server started.
    """

    settings: Settings
    share: Share
    public: int
    limits: int
    connections: int
    grpc_address: tuple[str, int] | None
    admin_port: int | None
    started: float


@dataclass(frozen=True)
class Report:
    """What a child says once its models are loaded.

    Attributes:
        image_seconds: that the dearest model takes for an image, all stages together.
        resident_bytes: that the process occupies; None where the system does not say.
        on_cpu: whether all models run on the CPU alone.
    """

    image_seconds: float
    resident_bytes: int | None
    on_cpu: bool
