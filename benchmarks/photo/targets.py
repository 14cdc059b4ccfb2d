"""The targets of the photo benchmark: a gain over the best full-depth peer, or over ONNX Runtime alone."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """One line of the table.

    Args:
        text: what is compared with what.
        network: in `networks.NETWORKS`.
        precision: of both sides.
        value: the least ratio.
        budget: of our server, in percent.
        connections: under which both are measured.
        bf16: whether ours computes float graphs in bfloat16; such rows count for no other target.
        over: the best full-depth peer, or ONNX Runtime alone plus decoding (`floor`).
    """

    text: str
    network: str
    precision: str
    value: float
    budget: int = 50
    connections: int = 64
    bf16: bool = False
    over: Literal["peer", "floor"] = "peer"


TARGETS = (
    Target("ResNet-50 int8 at 50% / best full-depth int8 peer", "resnet50", "int8", 1.5),
    Target("ResNet-50 float at 50% / best full-depth float peer", "resnet50", "float32", 1.65),
    Target("ResNet-50 in bf16 at 50% / best full-depth float peer", "resnet50", "float32", 3, bf16=True),
    Target("MobileNetV3-large float at 50% / best peer", "mobilenet_v3_large", "float32", 1.5),
    Target("cascade float at 50% / its large network in the best peer", "cascade", "float32", 1.7),
    Target("ResNet-50 int8 at 50% / raw floor with decoding", "resnet50", "int8", 0.92, over="floor"),
    Target("ResNet-50 float at 50% / raw floor with decoding", "resnet50", "float32", 0.92, over="floor"),
)
