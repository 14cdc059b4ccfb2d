"""FLOPs of a multi-exit model in the convention of the Meta-GF poster.

One FLOP is one multiply-add of a convolution or linear layer, plus one per bias element of a linear layer,
one per ReLU element and k·k per pooled output element. BatchNorm, convolution bias, additions, concatenation
and reshaping are free. The cost of leaving at an exit counts every earlier head too: they did run.

Operators beyond the poster's, so that other backbones can be counted:
  - GELU, SiLU, sigmoid, hard-swish, hard-sigmoid, tanh and ReLU6 count one per element, like ReLU;
  - a product of two feature maps (squeeze-excitation, layer scale), their quotient, exp and softmax count one
    per element; a factor that is one number, learned or not, is free;
  - LayerNorm is free, like BatchNorm; scaling vectors to length one (Swin v2) counts one per element for the
    length and one for the quotient;
  - attention counts its two batched matrix products, N·Lq·Lk·(d + dv) per head, and its softmax;
  - a linear layer's bias counts one per element however torch computes the layer;
  - other functions of one element (powers, roots, logarithms, leaky ReLU) count one per element;
  - sums and maxima over places count one per element that goes in;
  - interpolation counts the places it reads for each that it makes, and nothing where it copies the nearest;
  - what is computed from weights alone (a table of relative positions) is free: exporting folds it.
Operators without a rule are an error, not a zero; all of them are named at once.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.errors import ConfigError
from training.models.flops_rules import MULTIPLY_ADDS, RULES
from training.models.multi_exit import MultiExitModel


@dataclass(frozen=True)
class SegmentFlops:
    """FLOPs of one segment for one image; of these, convolutions' and matrix products' multiply-adds."""

    body: int
    head: int
    multiply_adds: int = 0


def segment_flops(model: MultiExitModel) -> list[SegmentFlops]:
    """Count each segment's body and head for one image of the model's own size: what a second image adds.

    Raises:
        ConfigError: the model uses operators that have no rule.
    """
    unknown: Counter[str] = Counter()
    one = _counted(model, 1, unknown)
    _refuse(unknown)
    two = _counted(model, 2, unknown)
    return [
        SegmentFlops(more.body - less.body, more.head - less.head, more.multiply_adds - less.multiply_adds)
        for less, more in zip(one, two, strict=True)
    ]


def _counted(model: MultiExitModel, count: int, unknown: Counter[str]) -> list[SegmentFlops]:
    device = model.mean.device
    images = torch.zeros(count, model.image_size, model.image_size, 3, dtype=torch.uint8, device=device)
    counts = []
    with _as_counted(model):
        features = model.normalise(images)
        for index in range(model.exits):
            with FlopsCounter(unknown) as body:
                features = model.segment(index).body(features)
            with FlopsCounter(unknown) as head:
                model.segment(index).head(features)
            counts.append(SegmentFlops(body.flops, head.flops, body.multiply_adds + head.multiply_adds))
    return counts


def _refuse(unknown: Counter[str]) -> None:
    if unknown:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items()))
        raise ConfigError(
            f"no FLOPs rule for the operators {listed}; add them to RULES in training/models/flops_rules.py"
        )


def exit_flops(segments: list[SegmentFlops]) -> list[int]:
    """Return the FLOPs of leaving at each exit: every body and every head up to it."""
    costs, total = [], 0
    for segment in segments:
        total += segment.body + segment.head
        costs.append(total)
    return costs


def cut_flops(segments: list[SegmentFlops]) -> list[int]:
    """Return what a net costs that ends with each segment and has no other head.

    >>> cut_flops([SegmentFlops(body=10, head=1), SegmentFlops(body=20, head=2)])
    [11, 32]
    """
    bodies = accumulate(segment.body for segment in segments)
    return [body + segment.head for body, segment in zip(bodies, segments, strict=True)]


def path_multiply_adds(model: MultiExitModel) -> list[int]:
    """Count, for each exit, the multiply-adds that its own logits are computed from.

    Neither earlier heads count, nor feature maps that only later exits use (MSDNet's finer scales).

    Raises:
        ConfigError: the model uses an operator that has no rule.
    """
    device = model.mean.device
    images = torch.zeros(1, model.image_size, model.image_size, 3, dtype=torch.uint8, device=device)
    logits = []
    with _as_counted(model):
        features = model.normalise(images)
        with _Recorder() as recorder:
            for index in range(model.exits):
                features = model.segment(index).body(features)
                logits.append(model.segment(index).head(features))
    return [recorder.behind(exit_logits) for exit_logits in logits]


@contextmanager
def _as_counted(model: MultiExitModel) -> Iterator[None]:
    """Run `model` so that its operators show one by one, and leave everything as it was."""
    was_training, fused = model.training, torch.backends.mha.get_fastpath_enabled()
    model.eval()  # BatchNorm must neither count nor learn from the zeros
    torch.backends.mha.set_fastpath_enabled(False)  # attention in one piece would hide what it computes
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        model.train(was_training)


class FlopsCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the FLOPs of every operator that runs inside the context, in `flops` and by operator.

    Args:
        unknown: takes the operators that have no rule; where None, they are an error at the end of the
            context.
    """

    def __init__(self, unknown: Counter[str] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_operator: Counter[str] = Counter()
        self.multiply_adds = 0
        self._unknown: Counter[str] = Counter() if unknown is None else unknown
        self._refuses = unknown is None

    def __exit__(self, kind: Any, *problem: Any) -> None:
        super().__exit__(kind, *problem)  # type: ignore[no-untyped-call]
        if kind is None and self._refuses:
            _refuse(self._unknown)

    @property
    def flops(self) -> int:
        """FLOPs of all operators."""
        return self.by_operator.total()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in RULES:
            self._unknown[name] += 1
            return output
        self.by_operator[name] += RULES[name](output, *args)
        if name in MULTIPLY_ADDS:
            self.multiply_adds += MULTIPLY_ADDS[name](output, *args)
        return output


class _Recorder(FlopsCounter):  # type: ignore[no-untyped-call]
    """Remembers what every operator read and wrote, to tell what a result was computed from."""

    def __init__(self) -> None:
        super().__init__()
        # In order: multiply-adds, and the tensors that were read and written.
        self._ran: list[tuple[int, list[Tensor], list[Tensor]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        before = self.multiply_adds
        output = super().__torch_dispatch__(func, types, args, kwargs)
        # The tensors are kept, so that no other gets the identity of one that has gone.
        self._ran.append((self.multiply_adds - before, _tensors((args, kwargs)), _tensors(output)))
        return output

    def behind(self, result: Tensor) -> int:
        """Return the multiply-adds of all operators that `result` depends on."""
        needed, total = {id(result)}, 0
        for cost, read, written in reversed(self._ran):
            if any(id(tensor) in needed for tensor in written):
                needed.update(map(id, read))
                total += cost
        return total


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
