"""The measured networks: torchvision's at 224 pixels with exits, and a cascade of two, with random weights.

A network's speed does not depend on its weights, but the exits of its images do. So BatchNorm is estimated on
the pool, the heads' logits are spread, and thresholds are fitted on the engine's own answers to the very
pictures that are sent: a budget then has the same exit shares in every round. No accuracy is claimed.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.speed.net import Net
from serving.bundle.manifest import Precision
from serving.images.decode import decode
from serving.images.preprocessing import Preprocessing

from . import pictures

ROOT = Path(__file__).parents[2]
SIDE = 224
SPEC = Preprocessing(height=SIDE, width=SIDE, resize=256)
"""As `training.data.opening` has it for this size."""
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
_MAX_PIXELS = 25_000_000

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Exits:
    """A torchvision network and the layers that its early exits follow."""

    network: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Cascade:
    """Two of torchvision's networks, one after the other."""

    small: str
    large: str


NETWORKS: dict[str, Exits | Cascade] = {
    "resnet50": Exits("resnet50", ("layer1", "layer2", "layer3")),
    "mobilenet_v3_large": Exits("mobilenet_v3_large", ("features.4", "features.10", "features.12")),
    "convnext_tiny": Exits("convnext_tiny", ("features.1", "features.3", "features.5")),
    "cascade": Cascade("mobilenet_v3_large", "resnet50"),
}


@dataclass(frozen=True)
class Made:
    """A network in both precisions, and the pictures that it is measured on.

    Args:
        name: of the network.
        nets: by precision.
        files: the pictures as JPEG.
        pixels: the same as the network takes them, uint8 [N, 224, 224, 3].
    """

    name: str
    nets: Mapping[str, Net]
    files: Sequence[bytes]
    pixels: Images


def made(name: str, work: Path, precisions: Sequence[Precision] = PRECISIONS) -> Made:
    """Make a network's bundles and full graphs, or take those of an earlier run of the same code.

    Args:
        name: in `NETWORKS`.
        work: the build folder.
        precisions: the ones wanted.
    """
    folder = work / f"photo-{_key()}"
    files = _pool(folder / "jpegs")
    pixels = np.stack([decode(data, SPEC, _MAX_PIXELS) for data in files])
    nets: dict[str, Net] = {}
    for precision in precisions:
        bundle = folder / name / precision
        full = folder / name / f"full-{precision}.onnx"
        if not full.exists():
            # Only here: it brings torch along, seconds and a gigabyte that measuring has no use for.
            from .making import make

            shutil.rmtree(bundle, ignore_errors=True)
            make(NETWORKS[name], bundle, full, precision, pixels)
        nets[precision] = Net(bundle, full)
    return Made(name, nets, files, pixels)


def _pool(folder: Path) -> list[bytes]:
    complete = folder / "complete"
    if not complete.exists():
        pictures.write(folder)
        complete.touch()
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def _key() -> str:
    """Changes with the code that makes networks and pictures."""
    return sha256(b"".join(path.read_bytes() for path in sources())).hexdigest()[:8]


def sources() -> list[Path]:
    """Return the files of that code."""
    own = [ROOT / "benchmarks" / "photo" / f"{name}.py" for name in ("networks", "making", "pictures")]
    exporting = ROOT / "training" / "exporting"
    return [
        *own,
        ROOT / "benchmarks" / "methods" / "poster_bundle.py",
        ROOT / "training" / "adopting" / "assembling.py",
        exporting / "graph.py",
        *sorted(exporting.glob("int8*.py")),
        *sorted((ROOT / "training" / "models").rglob("*.py")),
    ]
