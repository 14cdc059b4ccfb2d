"""Answers and captured images on their way to the parent, which takes labels and has the files."""

import queue
import threading
from collections.abc import Sequence

from serving.capture.capture import CapturedImage
from serving.monitoring.label_store import AnswerNotes, NotedAnswer
from serving.processes.link import Link

NOTES, CAPTURED, FLUSH = "notes", "captured", "flush_notes"
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


class ParentsCapture:
    """Sends images from a thread of its own: no request waits for that.

    Args:
        parent: the link to it.
        most_waiting: images; beyond that they are let go.
    """

    def __init__(self, parent: Link, most_waiting: int) -> None:
        self._parent = parent
        self._waiting: queue.Queue[CapturedImage | threading.Event | None] = queue.Queue(most_waiting)
        self._thread = threading.Thread(target=self._work, name="offramp-captured", daemon=True)
        self._thread.start()

    def keep(self, image: CapturedImage) -> None:
        """Have an image kept, if the parent finds its key small enough among those of all processes."""
        try:
            self._waiting.put_nowait(image)
        except queue.Full:
            return

    def keys(self, bundle: str) -> Sequence[float]:
        """Return none: the parent sorts out what this process need not have sent."""
        return ()

    def flush(self) -> None:
        """Wait until what is there was sent: the parent has it before anything that it is told later."""
        sent = threading.Event()
        self._waiting.put(sent)
        sent.wait()

    def close(self) -> None:
        """Send for the last time."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (found := self._waiting.get()) is not None:
            if isinstance(found, threading.Event):
                found.set()
            else:
                self._parent.tell(CAPTURED, found)
