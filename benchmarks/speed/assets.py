"""The measured objects: bundles in float and int8, the same nets at full depth in one graph, and images."""

import io
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx.compose import add_prefix, merge_models
from onnx.utils import Extractor
from PIL import Image

from benchmarks.methods import poster_bundle
from benchmarks.methods.poster_bundle import pool as poster_pool
from benchmarks.methods.poster_bundle import poster_model, write, write_pngs
from benchmarks.speed.net import Net
from serving.bundle import ROWS, Bundle, read_bundle
from training import exporting, models
from training.exporting.graph import boundaries, export_whole, split_at_boundaries
from training.exporting.int8 import quantize

POOL = 512
_CALIBRATION_IMAGES = 2000
_QUANTISING_BATCHES = 8


@dataclass(frozen=True)
class Assets:
    """All that one run of the benchmark needs.

    Args:
        name: of the net.
        nets: by precision; float32 at least.
        pngs: a folder of PNG files.
        images: the same, uint8 [N, H, W, 3].
    """

    name: str
    nets: dict[str, Net]
    pngs: Path
    images: npt.NDArray[np.uint8]


def poster(work: Path) -> Assets:
    """Make MSDNet-7 with random weights in float and int8, or take what an earlier run made."""
    folder = work / f"poster-{_key()}"
    if not (folder / "complete").exists():
        images = poster_pool(_CALIBRATION_IMAGES)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _make_poster(folder, images)
        write_pngs(folder / "pngs", images[:POOL])
        (folder / "complete").touch()
    return _assets(
        "MSDNet-7 with random weights",
        folder,
        {"float32": folder / "float32", "int8": folder / "int8"},
        poster_pool(POOL),
    )


def at_hand(work: Path, bundle: Path, int8: Path | None) -> Assets:
    """Measure a bundle that is there, and its twin in int8 if there is one, on noise of its size."""
    spec = read_bundle(bundle).manifest.preprocessing
    images = np.stack(
        [
            np.asarray(Image.fromarray(image).resize((spec.width, spec.height), Image.Resampling.BICUBIC))
            for image in poster_pool(POOL)
        ]
    )
    folder = work / f"{bundle.name}-at-hand"
    shutil.rmtree(folder, ignore_errors=True)
    write_pngs(folder / "pngs", images)
    bundles = {"float32": bundle} | ({"int8": int8} if int8 else {})
    return _assets(bundle.name, folder, bundles, images)


def _assets(name: str, folder: Path, bundles: dict[str, Path], images: npt.NDArray[np.uint8]) -> Assets:
    nets = {}
    for precision, path in bundles.items():
        full = folder / f"full-{precision}.onnx"
        if not full.exists():
            onnx.save(full_depth(read_bundle(path)), full)
        nets[precision] = Net(path, full)
    return Assets(name, nets, folder / "pngs", images)


def _make_poster(folder: Path, images: npt.NDArray[np.uint8]) -> None:
    model = poster_model()
    whole, parts = export_whole(model), boundaries(model)
    batches = np.array_split(images[: 32 * _QUANTISING_BATCHES], _QUANTISING_BATCHES)
    # As `training.export --precision int8` does by default.
    quantised, int8_parts = quantize(whole, parts, batches, reduce_range=True)
    write(folder / "float32", model, split_at_boundaries(whole, parts), parts, images)
    write(
        folder / "int8",
        model,
        split_at_boundaries(quantised, int8_parts),
        int8_parts,
        images,
        precision="int8",
    )


def _key() -> str:
    """Changes with the code that makes the nets."""
    return sha256(b"".join(path.read_bytes() for path in sources())).hexdigest()[:8]


def sources() -> list[Path]:
    """Return the files of that code."""
    export, nets = Path(exporting.__path__[0]), Path(models.__path__[0])
    found = [Path(poster_bundle.__file__), export / "graph.py", *export.glob("int8*.py"), *nets.rglob("*.py")]
    return sorted(found)


def full_depth(bundle: Bundle) -> onnx.ModelProto:
    """Chain a bundle's segments to one graph that puts out the last exit's probabilities alone."""
    specs = bundle.manifest.segments
    segments = [onnx.load(io.BytesIO(bundle.segment_bytes(index))) for index in range(len(specs))]
    for segment in segments:
        _take_all_rows(segment)
    whole, prefix = segments[0], ""
    for index, spec in enumerate(specs[1:], start=1):
        prefix, before = f"segment_{index + 1}_", prefix
        features = [feature.name for feature in spec.inputs if feature.name != ROWS]
        joints = [(before + name, prefix + name) for name in features]
        whole = merge_models(whole, add_prefix(segments[index], prefix), io_map=joints)
    return Extractor(whole).extract_model([specs[0].inputs[0].name], [prefix + specs[-1].outputs[0].name])


def _take_all_rows(segment: onnx.ModelProto) -> None:
    """Let a segment that gathers survivors take all the rows it is given."""
    for node in segment.graph.node:
        if ROWS in node.input:
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    for value in [value for value in segment.graph.input if value.name == ROWS]:
        segment.graph.input.remove(value)
