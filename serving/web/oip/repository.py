"""The models, their readiness and their totals, in the protocol's form."""

from collections.abc import Sequence
from typing import Any

from serving.errors import UnknownModelError, VersionError
from serving.telemetry.statistics import Durations, ModelStatistics
from serving.web.oip.signature import VERSION
from serving.web.service import ServedModel, Service


def choose(service: Service, name: str, version: str = "") -> ServedModel:
    """Return a model by its name and, where one is named, its version.

    Raises:
        UnknownModelError: there is no such model.
        VersionError: it has no such version.
    """
    if not name:
        raise UnknownModelError(f"expected the name of a model: one of {', '.join(sorted(service.models))}")
    model = service.choose(name)
    if version not in ("", VERSION):
        raise VersionError(f"model {name!r} has no version {version[:60]!r}: expected {VERSION}")
    return model


def why_unready(service: Service, model: ServedModel) -> str | None:
    """Say why a model should not be asked now; None where it should."""
    if service.draining:
        return "the server is shutting down"
    if not model.alive:
        return f"the worker of {model.name} has stopped"
    if model.stalled_seconds > service.settings.stall_seconds:
        return f"the worker of {model.name} hangs"
    return None


def index_of(service: Service, *, ready: bool = False) -> list[dict[str, str]]:
    """List the models that there are; with `ready` only those that can be asked."""
    entries = []
    for name in sorted(service.models):
        reason = why_unready(service, service.models[name])
        if reason is None or not ready:
            state = "READY" if reason is None else "UNAVAILABLE"
            entries.append({"name": name, "version": VERSION, "state": state, "reason": reason or ""})
    return entries


def statistics_of(service: Service, models: Sequence[ServedModel]) -> list[dict[str, Any]]:
    """Say what models have done; a run of a stage counts as an execution. Durations are nanoseconds."""
    return [_statistics(model.name, service.statistics.of(model.name)) for model in models]


def _statistics(name: str, found: ModelStatistics) -> dict[str, Any]:
    run, nothing = found.run, _duration(Durations())
    return {
        "name": name,
        "version": VERSION,
        "last_inference": int(found.last_at * 1000),
        "inference_count": found.images,
        "execution_count": run.count,
        "inference_stats": {
            "success": _duration(found.success),
            "fail": _duration(found.fail),
            "queue": _duration(found.queue),
            "compute_input": nothing,
            "compute_infer": _duration(run),
            "compute_output": nothing,
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": nothing,
                "compute_infer": _duration(found.stages[rows]),
                "compute_output": nothing,
            }
            for rows in sorted(found.stages)
        ],
    }


def _duration(found: Durations) -> dict[str, int]:
    return {"count": found.count, "ns": round(found.seconds * 1e9)}
