"""A trained model's answers to images, at every exit."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from training.methods.interface import Batch
from training.models.multi_exit import MultiExitModel


def predict(
    model: MultiExitModel, batches: Iterable[Batch]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return softmax probabilities float32 [N, exits, classes] and labels int64 [N], in the batches' order.

    The model is put into evaluation mode and computes in float32.
    """
    model.eval()
    probabilities, labels = [], []
    with torch.inference_mode():
        for batch in batches:
            logits = torch.stack(model(batch.images), dim=1)
            probabilities.append(logits.float().softmax(-1).cpu().numpy())
            labels.append(batch.labels.cpu().numpy())
    return np.concatenate(probabilities), np.concatenate(labels)


def accuracy_per_exit(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> list[float]:
    """Return the top-1 accuracy of each exit, 0..1.

    Args:
        probabilities: [N, exits, classes].
        labels: [N].
    """
    right = probabilities.argmax(-1) == labels[:, None]
    return [float(share) for share in right.mean(0)]
