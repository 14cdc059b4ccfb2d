"""One range for all values that concatenations join, so that joining them in int8 copies bytes.

Where parts of a concatenation have scales of their own, every byte is looked up in a table to be put on the
scale of the whole: in a dense net a fifth of the time (docs/precision.md). The widest range of all holds each
of them; what a narrow one loses of its resolution is measured with everything else that int8 costs.
"""

from collections.abc import Mapping
from typing import Any

import onnx
from onnxruntime.quantization.calibrate import TensorData, TensorsData


def joined(graph: onnx.GraphProto) -> list[set[str]]:
    """Return the values that concatenations join, directly or by one another: sets without a common name."""
    groups: list[set[str]] = []
    for node in graph.node:
        if node.op_type == "Concat":
            group = {*node.input, *node.output}
            apart = [other for other in groups if not other & group]
            groups = [*apart, group.union(*(other for other in groups if other & group))]
    return groups


def share_ranges(ranges: TensorsData, graph: onnx.GraphProto) -> TensorsData:
    """Return the ranges of values with one range for all that are joined.

    Args:
        ranges: the least and the largest value of every tensor.
        graph: the float net.
    """
    found: Mapping[str, Any] = ranges.data
    shared = dict(found)
    for group in joined(graph):
        known = [found[name].range_value for name in group if name in found]
        if known:
            least, most = min(low for low, _ in known), max(high for _, high in known)
            shared |= {name: TensorData(lowest=least, highest=most) for name in group if name in found}
    return TensorsData(ranges.calibration_method, shared)
