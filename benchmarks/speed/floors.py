"""The floor under every server: ONNX Runtime alone, each stage on exactly the rows that reach it."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.engine.plain_session import plain_session
from serving.bundle import ROWS, Bundle
from serving.options import ServingConfig
from serving.planner import Planner

BATCH = 32

Feed = dict[str, npt.NDArray[Any]]


class Raw:
    """A bundle's segments as plain sessions.

    Args:
        bundle: what is run.
        threads: of each session; one for each core if 0.
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self._bundle = bundle
        self._segments = bundle.manifest.segments
        self._sessions = [
            plain_session(bundle.segment_bytes(index), threads) for index in range(len(self._segments))
        ]
        self._names = [[output.name for output in segment.outputs] for segment in self._segments]

    def run(self, stage: int, feed: Feed) -> list[npt.NDArray[Any]]:
        """Run one stage; the probabilities come first."""
        outputs: list[npt.NDArray[Any]] = self._sessions[stage].run(self._names[stage], feed)
        return outputs

    def feed(self, stage: int, features: "list[npt.NDArray[Any]]") -> Feed:
        """Name what a stage takes."""
        segment = self._segments[stage]
        names = [spec.name for spec in segment.inputs if spec.name != ROWS]
        feed = dict(zip(names, features, strict=True))
        if len(names) < len(segment.inputs):
            feed[ROWS] = np.arange(len(features[0]), dtype=np.int64)
        return feed

    def path(self, images: npt.NDArray[np.uint8], budget: str, batch: int = BATCH) -> "Path":
        """Find out which images reach which stage under a budget, and cut their features into batches."""
        thresholds = Planner(self._bundle, ServingConfig(), None).plan(budget).thresholds
        features: list[npt.NDArray[Any]] = [images]
        batches: list[tuple[int, Feed]] = []
        exits = np.zeros(len(images), np.int64)
        there = np.arange(len(images))
        for stage in range(len(self._segments)):
            results = []
            for start in range(0, len(there), batch):
                feed = self.feed(stage, [feature[start : start + batch] for feature in features])
                batches.append((stage, feed))
                results.append(self.run(stage, feed))
            exits[there] = stage
            if stage == len(self._segments) - 1 or not results:
                break
            probabilities, *features = [np.concatenate(parts) for parts in zip(*results, strict=True)]
            stays = self._bundle.scorer(stage, probabilities) < thresholds[stage]
            there = there[stays]
            features = [feature[stays] for feature in features]
        return Path(batches, exits)

    def rate(self, path: "Path") -> float:
        """Images a second on a path, once through."""
        started = time.perf_counter()
        for stage, feed in path.batches:
            self.run(stage, feed)
        return len(path.exits) / (time.perf_counter() - started)

    def seconds_alone(self, image: npt.NDArray[np.uint8], last: int) -> float:
        """Time of one image through the stages up to its exit, by itself."""
        features: list[npt.NDArray[Any]] = [image[np.newaxis]]
        started = time.perf_counter()
        for stage in range(last + 1):
            _, *features = self.run(stage, self.feed(stage, features))
        return time.perf_counter() - started


class RawWhole:
    """A net in one graph to its last exit, as a plain session.

    Args:
        graph: an ONNX file.
        threads: of the session; one for each core if 0.
    """

    def __init__(self, graph: bytes, threads: int = 0) -> None:
        self._session = plain_session(graph, threads)
        self._input = self._session.get_inputs()[0].name

    def rate(self, images: npt.NDArray[np.uint8], batch: int = BATCH) -> float:
        """Images a second, every one to the end."""
        started = time.perf_counter()
        for start in range(0, len(images), batch):
            self._session.run(None, {self._input: images[start : start + batch]})
        return len(images) / (time.perf_counter() - started)


@dataclass(frozen=True)
class Path:
    """The way of images: (stage, its inputs) batch by batch, and the exit index of each image."""

    batches: list[tuple[int, Feed]]
    exits: npt.NDArray[np.int64]
