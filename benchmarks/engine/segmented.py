"""Nets to measure segment by segment, with names: a bundle, or the poster's net, untrained."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.methods.poster_bundle import pool, poster_model
from serving.bundle import ROWS, read_bundle
from training.exporting.graph import Boundary, boundaries, export_whole, split_at_boundaries
from training.exporting.int8 import quantize


@dataclass(frozen=True)
class Segmented:
    """A net in segments.

    Args:
        net: what the results call it.
        precision: of its weights.
        segments: the ONNX file of each.
        parts: their boundaries.
    """

    net: str
    precision: str
    segments: list[bytes]
    parts: list[Boundary]

    def images(self, count: int) -> npt.NDArray[np.uint8]:
        """Seeded noise of its size, uint8 [count, H, W, 3]."""
        _, height, width, _ = self.parts[0].inputs[0].shape
        shape = (count, height or 1, width or 1, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def command_line(description: str | None) -> argparse.ArgumentParser:
    """Make the parser of a benchmark: what is measured, how often, where the results go."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="?", help="a bundle; without, the poster's net, untrained")
    parser.add_argument("--precision", choices=["float32", "int8"], default="float32", help="of the latter")
    parser.add_argument("--out", type=Path, required=True, help="path of the results without its ending")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=7)
    return parser


def chosen(bundle: Path | None, precision: str) -> Segmented:
    """Open a bundle, or make the poster's net in a precision where there is none."""
    return _from_bundle(bundle) if bundle else _poster(precision)


def _poster(precision: str) -> Segmented:
    model = poster_model()
    whole, parts = export_whole(model), boundaries(model)
    if precision == "int8":
        images = pool(256, seed=1)
        whole, parts = quantize(whole, parts, np.split(images, 8), reduce_range=True)
    return Segmented("MSDNet-7, untrained", precision, split_at_boundaries(whole, parts), parts)


def _from_bundle(folder: Path) -> Segmented:
    bundle = read_bundle(folder)
    segments = bundle.manifest.segments
    if any(segment.gathers_rows for segment in segments):
        raise SystemExit(f"{folder}: its segments take `{ROWS}`; export one without --gather-rows")
    parts = [Boundary(segment.inputs, segment.outputs) for segment in segments]
    files = [bundle.segment_bytes(index) for index in range(len(segments))]
    return Segmented(folder.name, bundle.manifest.precision, files, parts)
