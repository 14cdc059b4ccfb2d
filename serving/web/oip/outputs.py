"""Answers as tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.answer import Answer
from serving.web.oip.request import RequestedOutput
from serving.web.oip.signature import ENCODED, PROBABILITIES

Array = npt.NDArray[Any]

_COLUMNS: Mapping[str, tuple[str, Any, Callable[[Answer], object]]] = {
    PROBABILITIES: ("FP32", np.float32, lambda answer: answer.probabilities),
    "class_index": ("INT64", np.int64, lambda answer: answer.class_index),
    "confidence": ("FP32", np.float32, lambda answer: answer.confidence),
    "exit": ("INT32", np.int32, lambda answer: answer.exit),
    "flops": ("INT64", np.int64, lambda answer: answer.flops),
}


@dataclass(frozen=True)
class OutputTensor:
    """A tensor that goes out.

    Args:
        name: of it.
        datatype: of its elements.
        values: the elements, in the tensor's shape; texts where the datatype is `BYTES`.
        binary: whether it was asked for as bytes.
    """

    name: str
    datatype: str
    values: Array
    binary: bool

    @property
    def shape(self) -> list[int]:
        """Of the tensor, in elements."""
        return list(self.values.shape)

    def to_bytes(self) -> bytes:
        """Return the elements as the protocol's raw bytes: little-endian, texts behind their lengths."""
        if self.datatype != ENCODED:
            return self.values.astype(self.values.dtype.newbyteorder("<"), copy=False).tobytes()
        texts = [text.encode() for text in self.values.ravel().tolist()]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def tensors_of(
    answers: Sequence[Answer], wanted: Sequence[RequestedOutput], classes: Sequence[str]
) -> list[OutputTensor]:
    """Return the tensors that were asked for, in that order.

    Args:
        answers: one per image, with probabilities.
        wanted: which.
        classes: the names of all classes, by index.
    """
    tensors = []
    for output in wanted:
        datatype, dtype, value = _COLUMNS[output.name]
        values = np.array([value(answer) for answer in answers], dtype)
        if output.top is not None:
            datatype, values = ENCODED, _classified(values, output.top, classes)
        tensors.append(OutputTensor(output.name, datatype, values, output.binary))
    return tensors


def _classified(probabilities: Array, top: int, classes: Sequence[str]) -> Array:
    """Return `probability:index:name` [N, K] of the K likeliest classes of each image, likeliest first."""
    kept = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    rows = [
        [f"{row[index]:f}:{index}:{classes[index]}" for index in indices]
        for row, indices in zip(probabilities, kept.tolist(), strict=True)
    ]
    return np.array(rows, object)
