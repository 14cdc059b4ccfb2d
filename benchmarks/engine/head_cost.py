"""The time that heads of early exits take, by kind: untrained ladders and MSDNets, in float and int8.

    python -m benchmarks.engine.head_cost --out docs/benchmarks/head_cost      some minutes

A network's chain of segments with all heads takes turns with the chain without any but the last, as in
`segment_cost`; the difference is what the early heads take together. ONNX Runtime, one thread, processor
time. Ladder and MSDNet are those of `exported_models/cifar10-ladder` and `cifar10-msdnet-int8`.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from benchmarks.engine.segment_cost import CLOCKS, Step, measure, ways
from benchmarks.methods.poster_bundle import pool
from benchmarks.reporting import publish, table
from training.exporting.graph import boundaries, export_whole, split_at_boundaries
from training.exporting.int8 import quantize
from training.models.flops import segment_flops
from training.models.registry import architecture

CLASSES = 10
_MSDNET = {
    **{"growth": "8", "channels": "8", "grow_factors": "1,3,6", "base": "1", "step": "1"},
    "bottleneck": "false",
}
NETWORKS: dict[str, tuple[str, dict[str, str]]] = {
    "ladder": ("ladder", {}),
    "msdnet": ("msdnet-small", _MSDNET),
}
_HALF_AS_WIDE = {"ladder": "64", "msdnet": "32"}
HEADS = ("conv", "half", "separable", "mean")
"""The kinds of `--model-option head`, and convolutions that are half as wide."""


def options(network: str, head: str) -> dict[str, str]:
    """Return the options of a network with a kind of head."""
    given = {"head_channels": _HALF_AS_WIDE[network]} if head == "half" else {"head": head}
    return {**NETWORKS[network][1], **given}


def chains(network: str, head: str, precision: str) -> tuple[dict[str, Step], list[int], int]:
    """The ways through a network that are compared, the FLOPs of its early heads, and those of all of it."""
    torch.manual_seed(0)
    model = architecture(NETWORKS[network][0], options(network, head)).model(CLASSES)
    _settle(model)
    flops = segment_flops(model)
    whole, parts = export_whole(model.eval()), boundaries(model)
    if precision == "int8":
        whole, parts = quantize(whole, parts, np.split(pool(256, seed=1), 8), reduce_range=True)
    found = ways(split_at_boundaries(whole, parts), parts, threads=1)
    chosen = {name: found[name] for name in ("whole", "segments", "without heads")}
    return chosen, [segment.head for segment in flops[:-1]], sum(each.body + each.head for each in flops)


def _settle(model: nn.Module) -> None:
    """Give BatchNorm statistics under which activations neither die nor explode."""
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.from_numpy(pool(64)))


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = []
    for row in results["rows"]:
        total, bodies = min(row["segments"]), min(row["without heads"])
        rows.append(
            [
                f"`{row['network']}`",
                row["precision"],
                "conv, half as wide" if row["head"] == "half" else row["head"],
                f"{row['head_flops'] / 1e6:.2f} of {row['flops'] / 1e6:.1f}",
                f"{total:.0f}",
                f"{total - bodies:.0f}",
                f"{100 * (total - bodies) / total:.1f}",
            ]
        )
    head = ["network", "", "head", "MFLOPs of early heads", "µs an image", "of them early heads", "share %"]
    lines = [
        "# Heads of early exits",
        "",
        "Written by `python -m benchmarks.engine.head_cost`; every image goes through all segments.",
        "",
        f"One thread, ONNX Runtime {results['onnxruntime']}, batches of {results['batch']}, "
        f"{results['clock']} clock; the least of {results['rounds']} rounds with all heads, and of as many "
        "without the early ones. A convolution that is half as wide is so at the last exit, too.",
        "",
        *table(head, rows),
    ]
    return "\n".join(lines) + "\n"


def row_of(network: str, head: str, precision: str, given: argparse.Namespace) -> dict[str, Any]:
    """Measure one network."""
    found, head_flops, flops = chains(network, head, precision)
    taken = measure(found, pool(given.batch), given.rounds, CLOCKS[given.clock])
    return {
        "network": network,
        "precision": precision,
        "head": head,
        "head_flops": sum(head_flops),
        "flops": flops,
        **{name: [1e3 * each for each in taken[name]] for name in ("segments", "without heads")},
    }


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="path of the results without its ending")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--precisions", nargs="+", choices=["float32", "int8"], default=["float32", "int8"])
    given = parser.parse_args()
    rows = [
        row_of(network, head, precision, given)
        for network in given.networks
        for precision in given.precisions
        for head in given.heads
    ]
    results = {
        "onnxruntime": onnxruntime.__version__,
        "batch": given.batch,
        "rounds": given.rounds,
        "clock": given.clock,
        "rows": rows,
    }
    publish(given.out, results, page(results))


if __name__ == "__main__":
    main()
