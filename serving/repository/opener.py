"""Opens one version of a model, within a time and a memory, and says how that went."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from serving.bundle.manifest import Arithmetic, Manifest
from serving.errors import BundleError, ModelMemoryError, OfframpError
from serving.events import CurrentVersion, Listener, ModelLoaded, ModelRefused
from serving.repository.folder import FoundModel, file_bytes
from serving.repository.in_thread import ResultT, in_thread
from serving.repository.live import Slot, Version
from serving.system.resources import resident_bytes

_NAME_CHARACTERS = 200
_GRACE_SECONDS = 5.0  # for what an engine does to end a run that takes too long


class DiffersFromCalibration(Protocol):
    """A difference between calibration and serving, which says itself in words."""

    @property
    def only_rounding(self) -> bool:
        """Whether no more than rounding is expected."""


class Described(Protocol):
    """What a loaded model says of itself (`serving.model.Model`)."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of its bundle."""

    @property
    def identity(self) -> str:
        """That of its bundle (`Manifest.identity`), kept: making it costs what a small request does."""

    @property
    def exit_flops(self) -> tuple[int, ...]:
        """FLOPs per image of leaving at each exit."""

    @property
    def exit_seconds(self) -> tuple[float, ...]:
        """Seconds of compute per image of leaving at each exit; empty where its stages were not timed."""

    @property
    def providers(self) -> tuple[str, ...]:
        """Its execution providers, best first."""

    @property
    def features_on(self) -> str:
        """Place of its features between stages: `host` or `device`."""

    @property
    def arithmetic(self) -> Arithmetic:
        """Runtime, precision and instruction set that it computes with."""

    @property
    def runtime_milliseconds(self) -> Mapping[str, float]:
        """Milliseconds per image at full depth, by runtime; empty where there was nothing to choose."""

    @property
    def arithmetic_differs(self) -> DiffersFromCalibration | None:
        """How its arithmetic differs from the calibration's."""

    @property
    def alive(self) -> bool:
        """Whether the thread that computes lives."""


class Openable(Described, Protocol):
    """A loaded model that a repository opens and closes."""

    on_submit: Any
    """Told of every request that is admitted; see `serving.repository.comparing`."""

    @property
    def missing_providers(self) -> tuple[str, ...]:
        """The execution providers that it should have and does not."""

    def close(self, drain: bool = True, timeout_seconds: float | None = None) -> None:
        """Stop."""

    def state(self) -> dict[str, dict[str, float]]:
        """What its closed loop has learned."""

    def restore(self, state: dict[str, dict[str, float]]) -> None:
        """Go on from there."""


Loaded = TypeVar("Loaded", bound=Openable)


@dataclass(frozen=True)
class OpenLimits:
    """What opening a version may take.

    Attributes:
        seconds: how long it may take.
        memory_bytes: what all loaded models may take together; 0 is without a limit.
    """

    seconds: float = 300.0
    memory_bytes: int = 0


class Opener(Generic[Loaded]):
    """Opens versions, one at a time.

    Args:
        open_model: opens the bundle of a folder under a name and a version.
        limits: of time and memory.
        logger: where each version, loaded or refused, is named.
        emit: told of them, too.
        memory: what the process occupies, in bytes; None where nobody knows.
    """

    def __init__(
        self,
        open_model: Callable[[Path, str, str], Loaded],
        limits: OpenLimits,
        logger: FilteringBoundLogger,
        emit: Listener,
        memory: Callable[[], int | None] = resident_bytes,
    ) -> None:
        self._open_model, self._limits = open_model, limits
        self._logger, self._emit, self._memory = logger, emit, memory
        self._held: dict[Version[Any], int] = {}
        self._lock = threading.Lock()

    def open(self, found: FoundModel, number: str) -> Version[Loaded]:
        """Open a version, checked and warm.

        Raises:
            OfframpError: it is refused; the text says why, and the log and a metric have it, too.
        """
        bundle = printable(found.name)
        named = {"bundle": bundle} | ({"version": number} if found.versioned else {})
        self._logger.info("bundle_loading", **named)
        try:
            version = self._checked(found, number)
        except Exception as error:  # one bundle, whatever is wrong with it, does not keep the others
            expected = isinstance(error, OfframpError)
            reason = str(error) if expected else f"{type(error).__name__}: {error}"
            self._logger.error(
                "bundle_refused", reason=reason, **named, **({} if expected else {"exc_info": error})
            )
            self._emit(ModelRefused(bundle, number, reason))
            if expected:
                raise
            raise BundleError(f"bundle {bundle!r}: {reason}") from error
        model = version.model
        runs_on = {"providers": model.providers, "features": model.features_on}
        self._logger.info("bundle_loaded", **named, **runs_on, **_computed_by(model))
        if model.arithmetic_differs is not None:
            tell = self._logger.info if model.arithmetic_differs.only_rounding else self._logger.warning
            tell("arithmetic_differs", **named, reason=str(model.arithmetic_differs))
        if model.missing_providers:
            self._logger.warning("providers_missing", **named, missing=model.missing_providers, **runs_on)
        return version

    def announce(self, slot: Slot[Loaded]) -> None:
        """Tell which version of a model answers from now on."""
        model = slot.serving.model
        heads = tuple(segment.head_flops for segment in model.manifest.segments)
        self._emit(
            CurrentVersion(
                slot.name,
                slot.current,
                model.exit_flops,
                heads,
                model.providers,
                model.features_on,
                model.arithmetic.runtime,
                model.arithmetic.precision,
                model.exit_seconds,
            )
        )

    def closed(self, version: Version[Loaded]) -> None:
        """Count a version's memory no more."""
        with self._lock:
            self._held.pop(version, None)

    def discard(self, version: Version[Loaded]) -> None:
        """Close a version that never answered anybody."""
        version.model.close(drain=False)
        self.closed(version)

    @property
    def held_bytes(self) -> int:
        """What all versions took that were opened and not closed."""
        with self._lock:
            return sum(self._held.values())

    def _checked(self, found: FoundModel, number: str) -> Version[Loaded]:
        check_name(found.name)
        folder = found.versions[number]
        least = file_bytes(folder)
        self._refuse_if_over(found.name, least, f"its files alone have {least:,} bytes")
        before, started = self._memory(), time.perf_counter()
        opening = partial(self._open_model, folder, found.name, number)
        model = within(self._limits.seconds + _GRACE_SECONDS, opening)
        seconds, after = time.perf_counter() - started, self._memory()
        took = least if before is None or after is None else max(least, after - before)
        try:
            self._refuse_if_over(found.name, took, f"loading it took {took:,} bytes")
        except ModelMemoryError:
            model.close(drain=False)
            raise
        version = Version(number, model, found.versioned, model.identity, took)
        with self._lock:
            self._held[version] = took
        self._emit(ModelLoaded(found.name, number, seconds, took))
        return version

    def _refuse_if_over(self, name: str, took: int, what: str) -> None:
        limit, held = self._limits.memory_bytes, self.held_bytes
        if limit and held + took > limit:
            raise ModelMemoryError(
                f"model {printable(name)!r} does not fit: {what}, and loaded models have {held:,} of the "
                f"{limit:,} of --max-model-memory; unload one, or raise the limit"
            )


def _computed_by(model: Openable) -> dict[str, object]:
    """What computes a model, for the log, and the times that it was chosen by."""
    facts: dict[str, object] = {
        "runtime": model.arithmetic.runtime,
        "inference_precision": model.arithmetic.precision,
    }
    if model.runtime_milliseconds:
        facts["runtime_ms"] = {name: round(taken, 3) for name, taken in model.runtime_milliseconds.items()}
    return facts


def check_name(name: str) -> None:
    """Refuse a folder's name that cannot be a model's: it is asked for in URLs, and is a label of metrics.

    Raises:
        BundleError: not UTF-8, not printable, or over 200 characters.
    """
    if not name.isprintable() or len(name) > _NAME_CHARACTERS:
        raise BundleError(
            f"expected a name of at most {_NAME_CHARACTERS} printable characters, in UTF-8, "
            f"found {printable(name)[:_NAME_CHARACTERS]!r}: rename the folder"
        )


def printable(name: str) -> str:
    """Return a file's name as it can be shown and sent: bytes that are no UTF-8 are escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")


def within(seconds: float, call: Callable[[], ResultT]) -> ResultT:
    """Make a call in a thread and wait for it, but not for ever.

    Raises:
        BundleError: it is not over in time; the thread is left behind.
    """
    future = in_thread("offramp-load", call)
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():
            raise
        raise BundleError(
            f"not loaded within {seconds:g} s (--load-timeout-seconds); its thread is left behind"
        ) from None
