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

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.errors import ConfigError
from training.models.multi_exit import MultiExitModel

Rule = Callable[..., int]  # (output, *operator arguments) → FLOPs


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
            f"no FLOPs rule for the operators {listed}; add them to RULES in training/models/flops.py"
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


def _free(*_: Any) -> int:
    return 0


def _per_element(output: Tensor, *_: Any) -> int:
    return output.numel()


def _convolution(output: Tensor, _: Tensor, weight: Tensor, *__: Any) -> int:
    return output.numel() * weight[0].numel()


def _linear_with_bias(output: Tensor, _: Tensor, inputs: Tensor, *__: Any) -> int:
    return output.numel() * (inputs.shape[-1] + 1)


def _linear_without_bias(output: Tensor, _: Tensor, inputs: Tensor, *__: Any) -> int:
    return output.numel() * inputs.shape[-1]


def _matrix_product(output: Tensor, inputs: Tensor, *_: Any) -> int:
    return output.numel() * inputs.shape[-1]


def _pool(output: Any, _: Tensor, kernel: list[int], *__: Any) -> int:
    pooled: Tensor = output[0] if isinstance(output, tuple) else output  # max pooling returns indices too
    return pooled.numel() * kernel[0] * kernel[-1]


def _per_input_element(_: Tensor, inputs: Tensor, *__: Any) -> int:
    return inputs.numel()


def _adaptive_pool(output: Any, inputs: Tensor, *_: Any) -> int:
    """Every input pixel falls into one window: k·k per output element adds up to the input's elements."""
    pooled: Tensor = output[0] if isinstance(output, tuple) else output  # max pooling returns indices too
    return max(pooled.numel(), inputs.numel())


def _extremum(output: Any, inputs: Tensor, *more: Any) -> int:
    """Over places; of two maps element by element it is free."""
    return 0 if more and isinstance(more[0], Tensor) else inputs.numel()


def _product(output: Tensor, a: Any, b: Any, *_: Any) -> int:
    return output.numel() if _shaped(a) and _shaped(b) else 0


def _shaped(factor: Any) -> bool:
    return isinstance(factor, Tensor) and factor.ndim > 0


def _sum(output: Tensor, a: Any, b: Any, *_: Any) -> int:
    """Free, but for a vector added along the last axis: the bias of a linear layer that torch adds apart."""
    is_bias = isinstance(b, Tensor) and b.ndim == 1 and output.ndim > 1 and b.shape == output.shape[-1:]
    return output.numel() if is_bias else 0


def _product_added(output: Tensor, _: Tensor, a: Any, b: Any, *__: Any) -> int:
    return _product(output, a, b)


def _interpolation(taps: int) -> Rule:
    """Return the rule of an interpolation that reads `taps` places along each side that changes."""

    def rule(output: Tensor, inputs: Tensor, *_: Any) -> int:
        changed = sum(was != now for was, now in zip(inputs.shape, output.shape, strict=True))
        return int(output.numel() * taps**changed)

    return rule


def _antialiased(taps: int) -> Rule:
    """Return the same for one that reads more places where it shrinks."""

    def rule(output: Tensor, inputs: Tensor, *_: Any) -> int:
        total = float(output.numel())
        for was, now in zip(inputs.shape, output.shape, strict=True):
            if was != now:
                total *= taps * max(1.0, was / now)
        return round(total)

    return rule


def _attention(output: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    products = _attention_products(output, query, key, value)
    return products + math.prod(query.shape[:-1]) * key.shape[-2]  # and the softmax


def _attention_products(output: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    return math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


_FUSED_ATTENTION = (
    *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention"),
    *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention"),
)

_NAMES: list[tuple[Rule, tuple[str, ...]]] = [
    (_convolution, ("convolution", "_convolution")),
    (_linear_with_bias, ("addmm",)),
    (_matrix_product, ("mm", "bmm")),
    (_linear_without_bias, ("baddbmm",)),
    (_pool, ("max_pool2d_with_indices", "avg_pool2d")),
    (
        _adaptive_pool,
        ("mean", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "sum", "amax", "amin"),
    ),
    (_extremum, ("max", "min")),
    (
        _per_element,
        ("relu", "relu_", "hardtanh", "hardtanh_", "gelu", "silu", "silu_", "sigmoid", "sigmoid_"),
    ),
    (
        _per_element,
        ("tanh", "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "_softmax", "_safe_softmax"),
    ),
    (
        _per_element,
        ("exp", "_log_softmax", "log", "log1p", "log_sigmoid_forward", "erf", "softplus", "mish", "mish_"),
    ),
    (_per_element, ("leaky_relu", "leaky_relu_", "elu", "elu_", "_prelu_kernel", "celu", "selu", "relu6")),
    (_per_element, ("pow", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "tan")),
    (_per_input_element, ("linalg_vector_norm",)),
    (_product, ("mul", "mul_", "div", "div_")),
    (_product_added, ("addcmul", "addcmul_")),
    (_interpolation(2), ("upsample_bilinear2d",)),
    (_interpolation(4), ("upsample_bicubic2d",)),
    (_antialiased(2), ("_upsample_bilinear2d_aa",)),
    (_antialiased(4), ("_upsample_bicubic2d_aa",)),
    (_free, ("upsample_nearest2d", "_upsample_nearest_exact2d", "native_group_norm", "_fused_rms_norm")),
    (_free, ("neg", "abs", "sign", "floor", "ceil", "round", "fmod", "remainder", "sub_", "clamp_")),
    (_free, ("clamp_max", "minimum", "maximum", "isnan", "isinf", "isfinite", "le", "ge", "logical_not")),
    (_free, ("logical_and", "logical_or", "bitwise_not", "bitwise_and", "bitwise_or", "any", "all")),
    (_free, ("argmax", "argmin", "topk", "sort", "cumsum", "tril", "triu", "flip", "im2col", "col2im")),
    (_free, ("pixel_shuffle", "pixel_unshuffle", "unfold", "as_strided", "fill", "full_like", "new_full")),
    (_free, ("new_ones", "new_empty", "empty_like", "empty_strided", "scalar_tensor", "linspace", "eye")),
    (_free, ("zero", "scatter", "scatter_", "index_put", "index_put_", "select_scatter", "diagonal")),
    (_free, ("slice_scatter", "masked_select", "nonzero", "one_hot", "native_channel_shuffle")),
    (_free, ("channel_shuffle", "reflection_pad2d", "replication_pad2d", "_local_scalar_dense")),
    (_free, ("embedding", "_assert_tensor_metadata", "lift_fresh_copy", "squeeze_", "unsqueeze_")),
    (_free, ("view_as_real", "floor_divide", "rand", "bernoulli_")),
    (_sum, ("add", "add_")),
    (_attention, _FUSED_ATTENTION),
    (_free, ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")),
    (
        _free,
        (
            "native_layer_norm",
            "native_dropout",
            "sub",
            "clamp",
            "clamp_min",
            "rsub",
            "cat",
            "stack",
            "constant_pad_nd",
        ),
    ),
    (_free, ("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "t", "transpose", "permute")),
    (
        _free,
        ("expand", "slice", "select", "split", "split_with_sizes", "unbind", "unsqueeze", "squeeze", "roll"),
    ),
    (_free, ("clone", "contiguous", "detach", "alias", "copy_", "_to_copy", "empty", "zeros", "lift_fresh")),
    (
        _free,
        (
            "as_strided_",
            "index",
            "index_select",
            "gather",
            "masked_fill",
            "masked_fill_",
            "fill_",
            "zero_",
            "arange",
        ),
    ),
    (
        _free,
        ("new_zeros", "zeros_like", "ones_like", "ones", "full", "eq", "ne", "lt", "gt", "where", "repeat"),
    ),
]
RULES: dict[str, Rule] = {name: rule for rule, names in _NAMES for name in names}
MULTIPLY_ADDS: dict[str, Rule] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "addmm": _linear_without_bias,
    "mm": _matrix_product,
    "bmm": _matrix_product,
    **dict.fromkeys(_FUSED_ATTENTION, _attention_products),
}
