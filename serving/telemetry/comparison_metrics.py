"""Prometheus metrics of canaries and shadows: what versions answer while they are compared."""

from prometheus_client import CollectorRegistry, Counter

from serving.events import AnswersCompared, Event, ShadowCompared


class ComparisonMetrics:
    """Listens to comparisons; versions are those that were compared, one at a time of each kind.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        by_role, by_version = ("model", "version", "role"), ("model", "version")
        self._images = Counter(
            "offramp_compared_images",
            "Images answered while versions are compared; the role is current, canary or shadow.",
            by_role,
            registry=registry,
        )
        self._flops = Counter(
            "offramp_compared_flops", "Nominal FLOPs spent on compared images.", by_role, registry=registry
        )
        self._confidence = Counter(
            "offramp_compared_confidence",
            "Sum of the confidences of compared images.",
            by_role,
            registry=registry,
        )
        self._failed = Counter(
            "offramp_compared_failures",
            "Requests that failed while versions are compared.",
            by_role,
            registry=registry,
        )
        self._paired = Counter(
            "offramp_shadow_images",
            "Images that a shadow answered beside the current version.",
            by_version,
            registry=registry,
        )
        self._agreed = Counter(
            "offramp_shadow_agreed_images",
            "Images of a shadow on which it names the same class.",
            by_version,
            registry=registry,
        )
        self._missed = Counter(
            "offramp_shadow_missed_images",
            "Images sampled for a shadow that found no idle time.",
            by_version,
            registry=registry,
        )

    def __call__(self, event: Event) -> None:
        """Take in one event; called from any thread."""
        match event:
            case AnswersCompared(model, version, role, images, flops, confidence, failed):
                self._images.labels(model, version, role).inc(images)
                self._flops.labels(model, version, role).inc(flops)
                self._confidence.labels(model, version, role).inc(confidence)
                self._failed.labels(model, version, role).inc(failed)
            case ShadowCompared(model, version, images, agreed, missed):
                self._paired.labels(model, version).inc(images)
                self._agreed.labels(model, version).inc(agreed)
                self._missed.labels(model, version).inc(missed)
