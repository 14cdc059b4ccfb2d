"""Prometheus metrics of loading, replacing and unloading models."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.events import Event, ModelLoaded, ModelRefused, ModelUnloaded

RESULTS = ("loaded", "refused", "unloaded")


class RepositoryMetrics:
    """Listens to the repository.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = Counter(
            "offramp_model_changes",
            "Versions of models that were loaded, refused or unloaded.",
            ("model", "result"),
            registry=registry,
        )
        self._memory = Gauge(
            "offramp_model_memory_bytes",
            "Memory that loading took, of all versions of a model that are loaded.",
            ("model",),
            registry=registry,
        )
        self._load_seconds = Gauge(
            "offramp_model_load_seconds",
            "How long the last load of a version took.",
            ("model",),
            registry=registry,
        )

    def __call__(self, event: Event) -> None:
        """Take in one event; called from any thread."""
        match event:
            case ModelLoaded(model, _, seconds, memory_bytes):
                self._count(model, "loaded")
                self._memory.labels(model).inc(memory_bytes)
                self._load_seconds.labels(model).set(seconds)
            case ModelRefused(model):
                self._count(model, "refused")
            case ModelUnloaded(model, _, memory_bytes, last):
                self._count(model, "unloaded")
                self._memory.labels(model).dec(memory_bytes)
                if last:
                    self._memory.remove(model)
                    self._load_seconds.remove(model)

    def _count(self, model: str, result: str) -> None:
        for each in RESULTS:
            self._changes.labels(model, each)
        self._changes.labels(model, result).inc()
