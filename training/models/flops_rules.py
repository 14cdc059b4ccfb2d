"""The FLOPs of torch's operators: a rule for each, in the convention of `training.models.flops`."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

Rule = Callable[..., int]  # (output, *operator arguments) → FLOPs


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
