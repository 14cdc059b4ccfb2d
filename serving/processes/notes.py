"""Answers on their way to the parent, which takes the labels that may come for them."""

import threading
from collections.abc import Sequence

from serving.monitoring.label_store import AnswerNotes, NotedAnswer
from serving.processes.link import Link

NOTES, FLUSH = "notes", "flush_notes"
_SEND_SECONDS = 0.5


class ParentsNotes:
    """Collects answers, and sends them from a thread of its own: no request waits for that.

    Args:
        parent: the link to it.
        keep: how many may wait; beyond that the oldest are lost, as they would be in the store.
    """

    def __init__(self, parent: Link, keep: int) -> None:
        self._parent, self._keep = parent, keep
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._answers: list[NotedAnswer] = []
        self._finals: list[tuple[str, int, int]] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="offramp-notes", daemon=True)
        self._thread.start()

    def note(self, answers: Sequence[NotedAnswer]) -> None:
        """Remember answers."""
        with self._lock:
            self._answers.extend(answers)
            del self._answers[: -self._keep]

    def note_final(self, request: str, image: int, class_index: int) -> None:
        """Remember what the last exit says of an image of the random sample."""
        with self._lock:
            self._finals.append((request, image, class_index))
            del self._finals[: -self._keep]

    def flush(self) -> None:
        """Send what is there: the parent has it before anything that it is told later."""
        with self._sending:
            with self._lock:
                answers, self._answers = self._answers, []
                finals, self._finals = self._finals, []
            if answers or finals:
                self._parent.tell(NOTES, answers, finals)

    def close(self) -> None:
        """Send for the last time."""
        self._closing.set()
        self._thread.join()
        self.flush()

    def _work(self) -> None:
        while not self._closing.wait(_SEND_SECONDS):
            self.flush()


def take_notes(
    store: AnswerNotes, answers: Sequence[NotedAnswer], finals: Sequence[tuple[str, int, int]]
) -> None:
    """Take down what a child sent."""
    if answers:
        store.note(answers)
    for final in finals:
        store.note_final(*final)
