"""Sees what hangs: a model whose engine does not come back makes no noise of its own."""

import threading
from collections.abc import Mapping
from typing import Protocol

from serving.events import Listener, ModelStalled, shielded


class Beating(Protocol):
    """A model that can be asked whether it gets on (`serving.model.Model`)."""

    @property
    def stalled_seconds(self) -> float:
        """For how long there has been work and none of it was finished; 0 where there is none."""

    def give_up(self) -> None:
        """Fail every request that is in."""

    def look_after(self) -> None:
        """Do what is due also while nobody asks."""


class Heartbeat:
    """Looks at models from a thread of its own, several times in the time that they may hang.

    Requests to a model that hangs are given up: their callers would wait for ever. When the model finishes
    something after all, it is taken back.

    Args:
        models: by name; looked at anew each time.
        stall_seconds: how long work may wait and none of it be finished.
        emit: gets an event when a model hangs, and when it goes on.
    """

    def __init__(self, models: Mapping[str, Beating], stall_seconds: float, emit: Listener) -> None:
        self._models = models
        self._stall_seconds = stall_seconds
        self._emit = shielded(emit)
        self._stalled: dict[str, float] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="offramp-heartbeat", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Look at every model once."""
        for name, model in list(self._models.items()):
            model.look_after()
            seconds = model.stalled_seconds
            if seconds > self._stall_seconds:
                if name not in self._stalled:
                    self._emit(ModelStalled(name, seconds, over=False))
                self._stalled[name] = seconds
                model.give_up()
            elif name in self._stalled:
                self._emit(ModelStalled(name, self._stalled.pop(name), over=True))

    def close(self) -> None:
        """Look no more."""
        self._closing.set()

    def _work(self) -> None:
        while not self._closing.wait(min(1.0, self._stall_seconds / 4)):
            self.look()
