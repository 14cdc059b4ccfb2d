"""The names that public PyTorch code gives MSDNet's parameters and buffers.

Source: github.com/kalviny/MSDNet-PyTorch, `models/msdnet.py`; IMTA (GE) and MetaGF keep its names. The layers
are the same as `training.models.architectures.msdnet`'s, in the same order: only the names differ.

    here                                       there
    segments.B.body.0.scales.S.…               blocks.B.0.layers.S.net.…      the stem
    segments.B.body.I.same.S.…, down.S.…       blocks.B.I.layers.S.conv_normal.net.…, conv_down.net.…
    segments.B.body.I.scales.S.…               blocks.B.I.m.S.net.…           a transition
    segments.B.head.features.L.…               classifier.B.m.L.net.…
    segments.B.head.classify.…                 classifier.B.linear.…

Convolution, BatchNorm and ReLU count on through a bottleneck's two convolutions there: 0, 1, 2, 3 … The first
scale of an ImageNet stem is without the word `net`.
"""

import re

_LAYERS_PER_CONVOLUTION = 3

_STEM = re.compile(r"segments\.0\.body\.0\.scales\.(\d+)\.(.+)")
_GROWN = re.compile(r"segments\.(\d+)\.body\.(\d+)\.(same|down)\.(\d+)\.(?:([01])\.)?(\d)\.(\w+)")
_TRANSITION = re.compile(r"segments\.(\d+)\.body\.(\d+)\.scales\.(\d+)\.(.+)")
_HEAD = re.compile(r"segments\.(\d+)\.head\.features\.(\d)\.(.+)")
_LINEAR = re.compile(r"segments\.(\d+)\.head\.classify\.(\w+)")


def public_name(name: str, stem: str) -> str:
    """Return what a parameter or buffer of `training.models.architectures.msdnet` is called there.

    Args:
        name: as in `state_dict()`; not `mean` or `std`, which public models leave to the data loader.
        stem: `cifar` or `imagenet`.

    >>> public_name("segments.2.body.1.down.0.1.0.weight", "cifar")
    'blocks.2.1.layers.0.conv_down.net.3.weight'
    """
    if found := _STEM.fullmatch(name):
        scale, rest = found.groups()
        net = "" if stem == "imagenet" and scale == "0" else "net."
        return f"blocks.0.0.layers.{scale}.{net}{rest}"
    if found := _GROWN.fullmatch(name):
        block, layer, kind, scale, convolution, place, rest = found.groups()
        branch = {"same": "conv_normal", "down": "conv_down"}[kind]
        place = _LAYERS_PER_CONVOLUTION * int(convolution or 0) + int(place)
        return f"blocks.{block}.{layer}.layers.{scale}.{branch}.net.{place}.{rest}"
    if found := _TRANSITION.fullmatch(name):
        block, layer, scale, rest = found.groups()
        return f"blocks.{block}.{layer}.m.{scale}.net.{rest}"
    if found := _HEAD.fullmatch(name):
        block, layer, rest = found.groups()
        return f"classifier.{block}.m.{layer}.net.{rest}"
    if found := _LINEAR.fullmatch(name):
        block, rest = found.groups()
        return f"classifier.{block}.linear.{rest}"
    raise ValueError(f"{name}: no part of an MSDNet")
