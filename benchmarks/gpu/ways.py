"""A way through a network, in a process of its own.

ONNX Runtime ends the process on some graphs and providers, by a segmentation fault: that costs one row.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from serving.engine.device import FeaturesOn
from serving.model import Model, ServingConfig

Images = npt.NDArray[np.uint8]

_END_SECONDS = 30.0


class WayError(Exception):
    """It does not run; the text says why."""


@dataclass(frozen=True)
class Settings:
    """What all ways are asked alike.

    Args:
        budget: as in a request.
        max_batch: the most images in one run of a stage.
        threads: that compute on the CPU; one for each core if 0.
    """

    budget: str
    max_batch: int
    threads: int


@dataclass(frozen=True)
class Way:
    """A bundle, and how it is run.

    Args:
        bundle: its folder.
        features: where they wait.
        providers: by ONNX Runtime's names, best first.
    """

    bundle: Path
    features: FeaturesOn
    providers: Sequence[str]


@dataclass(frozen=True)
class Turn:
    """One round of a way.

    Args:
        seconds: until all images were answered.
        processor_seconds: of all threads of the process.
        answers: class and exit of each image.
    """

    seconds: float
    processor_seconds: float
    answers: list[tuple[int, int]]


class Running:
    """A loaded way, which waits for its turns; a context manager that ends it.

    Attributes:
        load_seconds: that loading took, first runs included.

    Raises:
        WayError: it cannot be loaded.
    """

    def __init__(self, way: Way, images: Images, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, way, images, settings), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.load_seconds: float = self._received()
        except WayError:
            self._end()
            raise

    def turn(self) -> Turn:
        """Answer all images once.

        Raises:
            WayError: it failed.
        """
        with contextlib.suppress(ConnectionError):  # receiving says how it ended
            self._pipe.send("turn")
        turn: Turn = self._received()
        return turn

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _received(self) -> Any:
        try:
            found = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise WayError(f"its process ended with {_ending(self._process.exitcode or 0)}") from None
        if isinstance(found, WayError):
            raise found
        return found

    def _end(self) -> None:
        self._pipe.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _ending(code: int) -> str:
    return Signals(-code).name if code < 0 else f"exit status {code}"


def _work(pipe: Connection, way: Way, images: Images, settings: Settings) -> None:
    """Load, say how long that took, and answer all images whenever asked to, until the pipe is closed."""
    try:
        started = time.perf_counter()
        with Model.load(
            way.bundle,
            threads=settings.threads,
            providers=way.providers,
            strict=True,
            device_features="on" if way.features == "device" else "off",
            runtime="onnxruntime",
            max_batch=settings.max_batch,
            # Every round does the same: no loop corrects budgets, and no load lowers them.
            rules=ServingConfig(controller=False, brownout=False),
        ) as model:
            pipe.send(time.perf_counter() - started)
            while pipe.recv():
                started, used = time.perf_counter(), time.process_time()
                answers = model.classify(images, settings.budget)
                pipe.send(
                    Turn(
                        time.perf_counter() - started,
                        time.process_time() - used,
                        [(answer.class_index, answer.exit) for answer in answers],
                    )
                )
    except (EOFError, ConnectionError):  # nobody asks any more
        return
    except Exception as error:  # of the server's own kinds, or whatever a provider raises
        pipe.send(WayError(f"{type(error).__name__}: {error}"))
