"""The network as it was: its own file, run as its user does. The bundle's last exit answers like it."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from serving.bundle import Preprocessing
from serving.engine.providers import CPU
from serving.engine.sessions import cores, open_session
from training.adopting.assembling import Member, pixels
from training.adopting.network.batch import BATCH, fixed_batch
from training.adopting.network.network import TOLERANCE
from training.adopting.network.reading import opset
from training.calibration.collect import Probabilities
from training.data.feeds import Batch
from training.errors import AdoptError
from training.exporting.graph import IMAGES

_CHUNK = 32


class Reference:
    """Answers by the original file.

    Args:
        member: the network and how it is given its pixels.
        spec: the images that the bundle takes.
    """

    def __init__(self, member: Member, spec: Preprocessing) -> None:
        self._member = member
        self._pixels = open_session(_pixels_alone(member, spec), 1, [CPU])
        self._session = open_session(member.network.original, 1, [CPU])
        model = onnx.load_from_string(member.network.original)
        self._batch = fixed_batch(model)
        self._image = self._session.get_inputs()[0].name

    def __call__(self, images: npt.NDArray[np.uint8]) -> Probabilities:
        """Return probabilities float32 [n, C], in the bundle's order of classes, of uint8 [n, H, W, 3]."""
        step = self._batch or _CHUNK
        chunks = [images[start : start + step] for start in range(0, len(images), step)]
        with ThreadPoolExecutor(cores()) as pool:
            return np.concatenate(list(pool.map(self._answer, chunks)))

    def _answer(self, images: npt.NDArray[np.uint8]) -> Probabilities:
        (taken,) = self._pixels.run(None, {IMAGES: images})
        missing = (self._batch or len(taken)) - len(taken)
        if missing:
            taken = np.concatenate([taken, np.repeat(taken[-1:], missing, axis=0)])
        (answers,) = self._session.run(None, {self._image: taken})
        answers = answers.reshape(len(taken), -1)[: len(images)]
        if self._member.network.ends_in == "logits":
            powers = np.exp(answers - answers.max(axis=1, keepdims=True))
            answers = powers / powers.sum(axis=1, keepdims=True)
        if self._member.order is not None:
            answers = answers[:, list(self._member.order)]
        return np.asarray(answers, np.float32)


class LastExit:
    """Holds the last exit against the original, batch by batch.

    Args:
        name: of the network.
        batches: the original's probabilities [n, C], in the order in which the batches come.

    Attributes:
        images: how many were compared.
        changed: how many of them got another answer.
        largest: the largest difference of a probability.
    """

    def __init__(self, name: str, batches: Iterable[Probabilities]) -> None:
        self._name, self._batches = name, iter(batches)
        self.images, self.changed, self.largest = 0, 0, 0.0

    def add(self, served: Probabilities, batch: Batch) -> None:
        """Compare probabilities [n, K, C] of the engine with the original's.

        Raises:
            AdoptError: they differ by more than rounding does.
        """
        expected = next(self._batches)
        apart = float(np.abs(served[:, -1] - expected).max())
        if not apart <= TOLERANCE:  # a NaN has to fail, too
            raise AdoptError(
                f"{self._name}: the last exit is off by {apart:.1e} from the original file, {TOLERANCE:.0e} "
                "is allowed; nothing was written"
            )
        self.images += len(batch.labels)
        self.changed += int((served[:, -1].argmax(-1) != expected.argmax(-1)).sum())
        self.largest = max(self.largest, apart)


def _pixels_alone(member: Member, spec: Preprocessing) -> bytes:
    made = pixels(member, IMAGES, "pixels", spec)
    kind = onnx.TensorProto.UINT8 if member.network.dtype == "uint8" else onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        made.nodes,
        "pixels",
        [helper.make_tensor_value_info(IMAGES, onnx.TensorProto.UINT8, [BATCH, spec.height, spec.width, 3])],
        [helper.make_tensor_value_info("pixels", kind, [BATCH, *member.network.image_shape])],
        made.weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset(member.network.model))], ir_version=10
    )
    return bytes(model.SerializeToString())
