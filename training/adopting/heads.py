"""Heads on a frozen network, trained on features that are there already, written out as ONNX operators.

A network that was trained for its last exit alone does not lay out its early features for a linear layer:
the head
has to do the work. Two 3×3 convolutions at a low resolution cost about a hundredth of the network and are
20 to 35 points better on early features than averaging and a linear layer (docs/adopting.md has the figures).

The loss of an image is half cross-entropy, half distillation from the last exit (Hinton et al., 2015, with
T = 3); of an image without a label it is distillation alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.adopting.assembling import Head, Nodes
from training.adopting.features import CHUNK, Features
from training.adopting.maps import View
from training.data.columns import UNLABELLED
from training.data.seeds import generator
from training.fitting.losses import distillation_loss
from training.models.conv_head import ConvLayers, strides_and_places

HeadName = Literal["conv", "mlp", "linear"]

TEMPERATURE = 3.0
BATCH_SIZE = 128
WINDOW = 16
"""Chunks that are shuffled together."""

_STEP = 8
_WIDEST = 512
_MLP_WIDTH = 128
_LEARNING_RATE, _WEIGHT_DECAY = 1e-2, 1e-3
_WARM_UP = 0.2


class ConvHead(ConvLayers):
    """Two 3×3 convolutions, their average and maximum over all places, and a linear layer.

    Args:
        view: what is read.
        classes: how many there are.
        flops: about what it may cost.
    """

    def __init__(self, view: View, classes: int, flops: int) -> None:
        channels, height, width = view.shape
        _, (first, second) = strides_and_places(height, width)
        hidden = fitting_width(9 * first * channels, 18 * second, flops)
        super().__init__(view.shape, classes, hidden)
        self.flops = (
            9 * first * channels * hidden
            + first * hidden
            + 18 * second * hidden**2
            + 2 * second * hidden * 3  # the ReLU, the average and the maximum
            + (4 * hidden + 1) * classes
        )

    def write(self, into: Nodes, read: str, made: str) -> str:
        """Append the head's operators; return the tensor of its logits."""
        for name, conv, norm in (
            ("first", self.first, self.first_norm),
            ("second", self.second, self.second_norm),
        ):
            weight, bias = _folded(conv, norm)
            stride = list(conv.stride)
            read = into.add(
                "Conv",
                read,
                f"{made}.{name}",
                weight,
                bias,
                kernel_shape=[3, 3],
                strides=stride,
                pads=[1, 1, 1, 1],
            )
            read = into.add("Relu", read, f"{made}.{name}_relu")
        read = into.add("Flatten", _pooled(into, read, made), f"{made}.flat", axis=1)
        return _write_linear(self.linear, into, read, f"{made}.linear")


class PooledHead(nn.Module):
    """The average and the maximum over all places, then one hidden layer or none.

    Args:
        view: what is read.
        classes: how many there are.
        hidden: width of the hidden layer; 0 for none.
    """

    def __init__(self, view: View, classes: int, hidden: int) -> None:
        super().__init__()
        channels, height, width = view.shape
        self.pools = height * width > 1
        read = channels * (2 if self.pools else 1)
        self.norm = nn.BatchNorm1d(read, affine=False)
        self.hidden = nn.Linear(read, hidden) if hidden else None
        self.linear = nn.Linear(hidden or read, classes)
        self.flops = (
            (2 * channels * height * width if self.pools else 0) + (hidden or read) * classes + classes
        )
        self.flops += (read + 2) * hidden

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [n, classes] of features [n, C, H, W]."""
        pooled = [features.mean((2, 3)), features.amax((2, 3))] if self.pools else [features.flatten(1)]
        values = self.norm(torch.cat(pooled, dim=1))
        if self.hidden is not None:
            values = F.relu(self.hidden(values))
        logits: Tensor = self.linear(values)
        return logits

    def write(self, into: Nodes, read: str, made: str) -> str:
        """Append the head's operators; return the tensor of its logits."""
        if self.pools:
            read = _pooled(into, read, made)
        read = into.add("Flatten", read, f"{made}.flat", axis=1)
        first = self.hidden if self.hidden is not None else self.linear
        weight, bias = _normed(first, self.norm)
        read = into.add("Gemm", read, f"{made}.first", weight, bias, transB=1)
        if self.hidden is not None:
            read = into.add("Relu", read, f"{made}.relu")
            read = _write_linear(self.linear, into, read, f"{made}.linear")
        return read


AnyHead = ConvHead | PooledHead


@dataclass(frozen=True)
class TrainedHead(Head):
    """A head with its weights.

    Args:
        name: of its kind.
        view: how it sees what crosses the cut.
        net: in evaluation mode.
    """

    name: HeadName
    view: View
    net: AnyHead

    @property
    def flops(self) -> int:
        """Return what it costs for one image."""
        return self.nodes("read", "made").flops

    def nodes(self, read: str, made: str) -> Nodes:
        """Return the operators from the features to the probabilities."""
        result = self.view.nodes(read, f"{made}.seen")
        logits = self.net.write(result, f"{made}.seen", f"{made}.head")
        result.add("Softmax", logits, made, axis=-1)
        result.flops += self.net.flops
        return result


def new_head(name: HeadName, view: View, classes: int, flops: int) -> tuple[HeadName, AnyHead]:
    """Return an untrained head; without places there is nothing to convolve over, and "conv" becomes "mlp".

    Args:
        name: of the kind that is wanted.
        view: what it reads.
        classes: how many there are.
        flops: about what a convolutional head may cost.
    """
    if name == "conv" and view.is_map:
        return "conv", ConvHead(view, classes, flops)
    if name == "linear":
        return "linear", PooledHead(view, classes, 0)
    return "mlp", PooledHead(view, classes, max(_MLP_WIDTH, min(_WIDEST, 2 * classes)))


def untrained(features: Features, place: int, name: HeadName, flops: int, seed: int) -> TrainedHead:
    """Return the head of one cut as it begins.

    Args:
        features: what it will learn from.
        place: which cut.
        name: the kind of head.
        flops: about what it may cost.
        seed: of its weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, "head", place).integers(2**31)))
        kind, head = new_head(name, features.views[place], features.classes, flops)
    return TrainedHead(kind, features.views[place], head)


def train_head(
    features: Features,
    place: int,
    head: TrainedHead,
    *,
    epochs: int,
    seed: int,
    step: Callable[[int, int], None] = lambda done, of: None,
) -> TrainedHead:
    """Train the head of one cut.

    Args:
        features: what it learns from.
        place: which cut.
        head: as it begins.
        epochs: passes over the features.
        seed: of the order.
        step: called with the steps that are done, and all.
    """
    net = head.net.to(memory_format=torch.channels_last)
    total = epochs * sum(
        -(-min(CHUNK * WINDOW, len(features) - first) // BATCH_SIZE)
        for first in range(0, len(features), CHUNK * WINDOW)
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _LEARNING_RATE, total_steps=total + 1, pct_start=_WARM_UP
    )
    labels = torch.from_numpy(features.labels)
    coding, done = features.codings[place], 0
    net.train()
    for epoch in range(epochs):
        rng = generator(seed, "head order", place, epoch)
        for codes, teacher, rows in _windows(features, place, rng):
            order = rng.permutation(len(codes))
            for start in range(0, len(order), BATCH_SIZE):
                chosen = torch.from_numpy(order[start : start + BATCH_SIZE])
                if len(chosen) < 2:
                    continue
                read = coding.decode(codes[chosen])
                logits = net(read.contiguous(memory_format=torch.channels_last))
                loss = _loss(logits, teacher[chosen], labels[rows[chosen]])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                done += 1
                step(done, total)
    return replace(head, net=net.eval())


def _windows(features: Features, place: int, rng: np.random.Generator) -> Any:
    """Yield some chunks at a time, in random order: bytes, the last exit's logits, and row numbers."""
    order = rng.permutation(features.count).tolist()
    for first in range(0, len(order), WINDOW):
        chunks = list(features.chunks(place, order[first : first + WINDOW]))
        codes = torch.from_numpy(np.concatenate([codes for codes, _, _ in chunks]))
        logits = torch.from_numpy(np.concatenate([logits for _, logits, _ in chunks]))
        rows = torch.cat([torch.arange(rows.start, rows.stop) for _, _, rows in chunks])
        yield codes, logits, rows


def _loss(logits: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    known = labels != UNLABELLED
    if not known.any():
        return distillation_loss(logits, teacher, TEMPERATURE)
    if not known.all():
        share = known.sum() / len(known)
        with_labels = _loss(logits[known], teacher[known], labels[known])
        without = distillation_loss(logits[~known], teacher[~known], TEMPERATURE)
        return share * with_labels + (1 - share) * without
    return (F.cross_entropy(logits, labels) + distillation_loss(logits, teacher, TEMPERATURE)) / 2


def fitting_width(per_channel: int, per_square: int, flops: int) -> int:
    """Return the width h, in steps of 8, at which a·h + b·h² is about a number of FLOPs.

    >>> fitting_width(9216, 288, 1_100_000)
    48
    """
    width = (sqrt(per_channel**2 + 4 * per_square * flops) - per_channel) / (2 * per_square)
    return int(min(_WIDEST, max(_STEP, round(width / _STEP) * _STEP)))


def _array(values: Tensor) -> Any:
    return values.detach().contiguous().numpy()


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Any, Any]:
    """Return the weight and the bias of a convolution and the BatchNorm behind it as one."""
    assert norm.running_mean is not None  # noqa: S101 - BatchNorm2d tracks them
    assert norm.running_var is not None  # noqa: S101
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return _array(conv.weight * scale[:, None, None, None]), _array(norm.bias - norm.running_mean * scale)


def _normed(linear: nn.Linear, norm: nn.BatchNorm1d) -> tuple[Any, Any]:
    """Return the weight and the bias of a linear layer and the normalisation before it as one."""
    assert norm.running_mean is not None  # noqa: S101
    assert norm.running_var is not None  # noqa: S101
    weight = linear.weight / (norm.running_var + norm.eps).sqrt()
    return _array(weight), _array(linear.bias - weight @ norm.running_mean)


def _pooled(into: Nodes, read: str, made: str) -> str:
    """Append the average and the maximum over all places, joined; return their tensor."""
    average = into.add("GlobalAveragePool", read, f"{made}.average")
    largest = into.add("GlobalMaxPool", read, f"{made}.largest")
    return into.join([average, largest], f"{made}.both")


def _write_linear(linear: nn.Linear, into: Nodes, read: str, made: str) -> str:
    return into.add("Gemm", read, made, _array(linear.weight), _array(linear.bias), transB=1)
