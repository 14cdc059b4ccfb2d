"""Training data of heads: features at each cut and the full network's answers, computed once.

Features are pooled as the heads see them and kept as one byte each: the square root, which spreads small
values,
in 255 steps up to the largest of the first images. The files lie in a folder that can be taken up again;
images that do not fit into `--cache-gb` are computed anew whenever they are needed.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper
from onnx.utils import Extractor
from torch import Tensor

from serving.bundle import Preprocessing
from serving.engine.providers import CPU
from serving.engine.sessions import cores, open_session
from training.adopting.assembling import Exit, Head, Member, Nodes, adopted
from training.adopting.images import Pictures
from training.adopting.maps import View, view
from training.adopting.network.batch import BATCH
from training.adopting.network.paths import Cut
from training.data.images import decode
from training.exporting.graph import IMAGES

Bytes = npt.NDArray[np.uint8]

CHUNK = 512
"""Images that are computed, kept and shuffled together."""

_ROWS = 32  # images in one run of the session
_STEPS, _SIGNED_STEPS = 255.0, 127.0
_FLOOR = 1e-30


@dataclass(frozen=True)
class Coding:
    """Features as bytes: code = 255 · √(x / largest), or 128 + 127 · sign(x) · √(|x| / largest).

    Args:
        largest: per channel, float32 [C, 1, 1].
        signed: whether there are negative values.
    """

    largest: npt.NDArray[np.float32]
    signed: bool

    @classmethod
    def of(cls, features: npt.NDArray[np.float32]) -> "Coding":
        """Choose the coding that has room for these features, [n, C, H, W]."""
        largest = np.abs(features).max(axis=(0, 2, 3), keepdims=True)[0]
        return cls(np.maximum(largest, _FLOOR).astype(np.float32), bool(features.min() < 0))

    def encode(self, features: npt.NDArray[np.float32]) -> Bytes:
        """Return bytes; what is beyond the largest is taken for it."""
        root = np.sqrt(np.minimum(np.abs(features) / self.largest, 1))
        if self.signed:
            return np.rint(128 + _SIGNED_STEPS * np.sign(features) * root).astype(np.uint8)
        return np.rint(_STEPS * root).astype(np.uint8)

    def decode(self, codes: Tensor) -> Tensor:
        """Return features of bytes [n, C, H, W]."""
        largest = torch.from_numpy(self.largest)
        if self.signed:
            root = (codes.float() - 128) / _SIGNED_STEPS
            return root * root.abs() * largest
        return (codes.float() / _STEPS).square() * largest


@dataclass(frozen=True)
class _Look(Head):
    """No head yet: what it would read."""

    view: View
    classes: int

    def nodes(self, read: str, made: str) -> Nodes:
        """Return the view's operators; their result has the name of the answer."""
        return self.view.nodes(read, made)


class Features:
    """Features at the cuts, and logits, of the images that heads learn from.

    Args:
        member: the network.
        cuts: where.
        spec: the images that the bundle takes.
        pictures: which images.
        folder: keeps what was computed.
        cache_bytes: how much of it.
        seen: called with the number of images that are computed, and of all.
    """

    def __init__(
        self,
        member: Member,
        cuts: Sequence[Cut],
        spec: Preprocessing,
        pictures: Pictures,
        folder: Path,
        cache_bytes: int,
        seen: Callable[[int, int], None] = lambda done, of: None,
    ) -> None:
        self._member, self.cuts, self._spec, self._pictures = member, list(cuts), spec, pictures
        self.views = [view(cut.shape) for cut in cuts]
        self._folder, self._seen = folder, seen
        self._session = open_session(self._graph(), 1, [CPU])
        self._outputs = [output.name for output in self._session.get_outputs()]
        size = sum(int(np.prod(own.shape)) for own in self.views) + 4 * member.network.classes
        self.cached = min(len(pictures), max(CHUNK, cache_bytes // max(1, size)))
        self.codings = self._choose_codings()

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def classes(self) -> int:
        """Return how many classes there are."""
        return self._member.network.classes

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Return the labels, int64 [n]."""
        return self._pictures.labels

    def compute(self) -> None:
        """Compute what is kept; chunks that are there already are taken as they are."""
        self._folder.mkdir(parents=True, exist_ok=True)
        done = self._progress_file()
        start = int(json.loads(done.read_text())["images"]) if done.exists() else 0
        mode: Literal["r+", "w+"] = "r+" if start else "w+"
        files = [
            np.memmap(self._file(place), np.uint8, mode, shape=(self.cached, *own.shape))
            for place, own in enumerate(self.views)
        ]
        logits = np.memmap(
            self._folder / "logits.f32", np.float32, mode, shape=(self.cached, self._member.network.classes)
        )
        for first in range(start, self.cached, CHUNK):
            rows = slice(first, min(first + CHUNK, self.cached))
            *features, answers = self._computed(rows)
            logits[rows] = answers
            for file, codes in zip(files, features, strict=True):
                file[rows] = codes
                file.flush()
            logits.flush()
            done.write_text(json.dumps({"images": rows.stop}))
            self._seen(rows.stop, self.cached)

    def chunks(
        self, place: int, order: Sequence[int]
    ) -> Iterator[tuple[Bytes, npt.NDArray[np.float32], slice]]:
        """Yield features of one cut, as bytes, and logits, chunk by chunk.

        Args:
            place: which cut.
            order: numbers of chunks.
        """
        file = np.memmap(self._file(place), np.uint8, "r", shape=(self.cached, *self.views[place].shape))
        logits = np.memmap(
            self._folder / "logits.f32", np.float32, "r", shape=(self.cached, self._member.network.classes)
        )
        for number in order:
            rows = slice(number * CHUNK, min((number + 1) * CHUNK, len(self)))
            if rows.stop <= self.cached:
                yield np.array(file[rows]), np.array(logits[rows]), rows
            else:
                computed = self._computed(rows)
                yield computed[place], computed[-1], rows

    @property
    def count(self) -> int:
        """Return the number of chunks."""
        return -(-len(self) // CHUNK)

    def _computed(self, rows: slice) -> list[npt.NDArray[Any]]:
        """Run the network; return bytes per cut, and logits."""
        *features, logits = self._run(rows)
        return [*(coding.encode(one) for coding, one in zip(self.codings, features, strict=True)), logits]

    def _run(self, rows: slice) -> list[npt.NDArray[np.float32]]:
        images = decode(self._pictures.part, self._pictures.rows[rows], self._spec)
        pieces = [images[start : start + _ROWS] for start in range(0, len(images), _ROWS)]
        with ThreadPoolExecutor(cores()) as pool:
            answers = list(pool.map(lambda piece: self._session.run(self._outputs, {IMAGES: piece}), pieces))
        found = [np.concatenate(parts) for parts in zip(*answers, strict=True)]
        found[-1] = found[-1].reshape(len(images), -1)
        if self._member.network.ends_in == "probabilities":
            found[-1] = np.log(np.maximum(found[-1], _FLOOR)).astype(np.float32)
        if self._member.order is not None:
            found[-1] = found[-1][:, list(self._member.order)]
        return found

    def _choose_codings(self) -> list[Coding]:
        rows = slice(0, min(CHUNK, len(self)))
        return [Coding.of(one) for one in self._run(rows)[:-1]]

    def _graph(self) -> bytes:
        """Return the network with what heads read, and its own logits, for outputs."""
        exits = [
            Exit(cut, _Look(own, self._member.network.classes))
            for cut, own in zip(self.cuts, self.views, strict=True)
        ]
        whole = adopted(self._member, exits, self._spec).whole
        wanted = [f"probabilities_{number}" for number in range(1, len(exits) + 1)]
        answer = "model.answer"
        opened = onnx.ModelProto()
        opened.CopyFrom(whole)
        outputs = [_float(name, [BATCH, *own.shape]) for name, own in zip(wanted, self.views, strict=True)]
        outputs.append(_float(answer, [BATCH, self._member.network.classes]))
        del opened.graph.output[:]
        opened.graph.output.extend(outputs)
        return bytes(Extractor(opened).extract_model([IMAGES], [*wanted, answer]).SerializeToString())

    def _file(self, place: int) -> Path:
        return self._folder / f"features_{place + 1}.u8"

    def _progress_file(self) -> Path:
        return self._folder / "done.json"


def _float(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
