"""The state of closed loops with several processes: each learns by itself, the parent keeps files."""

import threading

from structlog.typing import FilteringBoundLogger

from serving.errors import OfframpError
from serving.monitoring.merging import State, merged_states
from serving.monitoring.state import StateFolder, Stateful
from serving.processes.link import Link

LOAD, SAVE = "load_state", "save_state"
_PATIENCE_SECONDS = 10.0


class ParentsStates:
    """Keeps the state of a child's models with the parent.

    Args:
        parent: the link to it.
        logger: where a state that cannot be used, or kept, is named.
    """

    def __init__(self, parent: Link, logger: FilteringBoundLogger) -> None:
        self._parent, self._logger = parent, logger

    def load(self, model: Stateful, name: str) -> None:
        """Give a model what all processes had learned together."""
        try:
            state = self._parent.ask(LOAD, model.identity, name, timeout_seconds=_PATIENCE_SECONDS)
            if state:
                model.restore(state)
        except (OfframpError, ValueError, TimeoutError) as error:
            self._logger.warning("state_unusable", bundle=name, reason=f"{type(error).__name__}: {error}")

    def save(self, model: Stateful, name: str) -> None:
        """Have a model's state kept."""
        try:
            self._parent.ask(SAVE, model.identity, name, model.state(), timeout_seconds=_PATIENCE_SECONDS)
        except (OfframpError, TimeoutError) as error:
            self._logger.error("state_not_written", bundle=name, reason=str(error))


class SharedStates:
    """The parent's: one file for each bundle, of what all processes have learned.

    Args:
        folder: has the files.
    """

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._learned: dict[str, dict[int, State]] = {}

    def load(self, identity: str, name: str) -> State:
        """Return what a bundle's processes had learned; nothing where there is no usable file."""
        held = _Held(identity, {})
        with self._lock:
            self._folder.load(held, name)
        return held.state()

    def save(self, process: int, identity: str, name: str, state: State) -> None:
        """Write what a bundle's processes have learned, one of them just now."""
        with self._lock:
            learned = self._learned.setdefault(identity, {})
            learned[process] = state
            self._folder.save(_Held(identity, merged_states(list(learned.values()))), name)


class _Held:
    """A state in the place of a model that has it."""

    def __init__(self, identity: str, state: State) -> None:
        self.identity, self._state = identity, state

    def state(self) -> State:
        return self._state

    def restore(self, state: State) -> None:
        self._state = state
