"""Reads a run's files for the page: what was set, every epoch's record, and a measured conflict of exits."""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from training.errors import RunError

MOST_BYTES = 64 * 2**20
"""More than a run's log ever has; a larger file is not read."""
_SHOWN = ("dataset", "model", "method", "epochs", "batch_size", "lr", "schedule", "recipe", "seed")
_RECENT = 5


def snapshot(folder: Path, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """Return what the page shows of a run; nothing but files is touched, and none is written.

    Args:
        folder: the run folder.
        clock: seconds since 1970.

    Returns:
        name; `settings`, by name; `epochs`, of the whole run; `records`, one per finished epoch as in
        metrics.jsonl, numbers that are not finite as None; `seconds_left` of training, from the last
        epochs' time, None where there is none; `quiet_seconds` since the last record; `conflict`, by name,
        matrices of cosines between exits.

    Raises:
        RunError: not a run folder, or a file of it cannot be read.
    """
    settings = _settings(folder)
    log = folder / "metrics.jsonl"
    text = _text(log)
    try:
        records = [_finite(json.loads(line)) for line in text.splitlines()]
        for record in records:
            _ = record["epoch"], record["validation_accuracy"][0], record["train_loss"][0]
        left = seconds_left(records, settings["epochs"])
    except (ValueError, LookupError, TypeError) as error:
        raise RunError(f"{log}: expected one JSON object per epoch, found something else: {error}") from error
    return {
        "name": folder.resolve().name,
        "settings": {name: settings[name] for name in _SHOWN if settings.get(name) is not None},
        "epochs": settings["epochs"],
        "records": records,
        "seconds_left": left,
        "quiet_seconds": max(0.0, clock() - log.stat().st_mtime) if records else None,
        "conflict": _conflict(folder / "conflict" / "conflict.json"),
    }


def seconds_left(records: Sequence[dict[str, Any]], epochs: int) -> float | None:
    """Return how long the epochs that are left will train, if they take what the last five took.

    >>> seconds_left([{"seconds": 10.0}, {"seconds": 20.0}], 6)
    60.0
    """
    if not records:
        return None
    recent = [float(record["seconds"]) for record in records[-_RECENT:]]
    return max(0, epochs - len(records)) * sum(recent) / len(recent)


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise RunError(f"{folder}: not a run folder: it has no config.json")
    try:
        settings: dict[str, Any] = json.loads(_text(path))["settings"]
        settings["epochs"] = int(settings["epochs"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not the settings of a run: {error}") from error
    return settings


def _conflict(path: Path) -> dict[str, Any]:
    """Return the cosines over all shared parameters, of those of the two kinds that were measured."""
    text = _text(path)
    if not text:
        return {}
    try:
        found = json.loads(text)
        kinds = {"mini-batch gradients": "mini_batch", "expected gradients": "expected"}
        return {name: _finite(found[key]["whole"]["cosine"]) for name, key in kinds.items() if found.get(key)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: not written by `offramp conflict`: {error}") from error


def _text(path: Path) -> str:
    """Read a file; one that is not there yet is empty."""
    try:
        if not path.is_file():
            return ""
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise RunError(f"{path}: expected at most {MOST_BYTES} bytes, found {size}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error


def _finite(value: Any) -> Any:
    """Put None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return value
