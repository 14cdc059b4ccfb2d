"""The models, their readiness and their totals, in the protocol's form."""

import asyncio
from contextlib import AbstractContextManager
from typing import Any

from serving.errors import UnknownModelError
from serving.repository.live import Version
from serving.telemetry.statistics import Durations, ModelStatistics
from serving.web.served import ServedModel
from serving.web.service import Service


def lease(
    service: Service, name: str, version: str = "", request_id: str | None = None
) -> AbstractContextManager[Version[ServedModel]]:
    """Keep a model, by its name and, where one is named, its version, until a request is over.

    Args:
        service: which knows.
        name: of the model.
        version: empty where none is named.
        request_id: the server's own name for a request for an answer, by which a canary gets its share.

    Raises:
        UnknownModelError: there is no such model.
        VersionError: it has no such version.
    """
    if not name:
        raise UnknownModelError(f"expected the name of a model: one of {', '.join(sorted(service.models))}")
    return service.lease(name, version, request_id)


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
    """List the versions that are loaded; with `ready` only those that can be asked."""
    entries = []
    for name, slot in sorted(service.loaded.slots.items()):
        for number, version in slot.versions.items():
            reason = why_unready(service, version.model)
            if reason is None or not ready:
                state = "READY" if reason is None else "UNAVAILABLE"
                entries.append({"name": name, "version": number, "state": state, "reason": reason or ""})
    return entries


async def whole_index(service: Service, *, ready: bool = False) -> list[dict[str, str]]:
    """List the versions that are loaded and, without `ready`, those that are in the folder and are not."""
    entries = index_of(service, ready=ready)
    if ready or service.repository is None:
        return entries
    for found in await asyncio.to_thread(service.repository.on_disk):
        state = "LOADING" if found.loading else "UNAVAILABLE"
        reason = "" if found.loading else found.reason
        entries.append({"name": found.name, "version": found.version, "state": state, "reason": reason})
    return sorted(entries, key=lambda entry: (entry["name"], int(entry["version"])))


def statistics_of(service: Service, name: str = "", version: str = "") -> list[dict[str, Any]]:
    """Say what versions have done; a run of a stage counts as an execution. Durations are nanoseconds.

    Args:
        service: which knows.
        name: of the model; all models where empty.
        version: of it; all versions where empty.

    Raises:
        UnknownModelError, VersionError: there is no such one.
    """
    slots = [service.loaded.slot(name)] if name else list(service.loaded.slots.values())
    if version:
        slots[0].chosen(version, None)
    return [
        _statistics(slot.name, number, service.statistics.of(slot.name, number))
        for slot in slots
        for number in slot.versions
        if version in ("", number)
    ]


def _statistics(name: str, number: str, found: ModelStatistics) -> dict[str, Any]:
    run, nothing = found.run, _duration(Durations())
    return {
        "name": name,
        "version": number,
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
