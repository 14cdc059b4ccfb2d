"""Processor time from a JPEG to the 224 pixels that a network takes, by decoder and size of the picture.

    python -m benchmarks.photo.decoding

Every way resizes with antialiasing and crops in one step. OpenCV runs in an environment of its own; it is no
choice for the server, since it does not say that a picture is truncated.
"""

import io
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks.speed.environments import RIVALS, python_of
from benchmarks.speed.ratios import Spread
from benchmarks.speed.rivals import pixels as rival
from serving.images.decode import decode
from training.data.opening import preprocessing

from .pictures import SIZES, pictures

WORK = Path(__file__).parents[1] / ".work"
SIDE, SHORTER = 224, 256
COUNT = 40
ROUNDS = 3
_MAX_PIXELS = 25_000_000

Figures = dict[str, list[float]]
"""Milliseconds by size of the picture."""


def timed(read: Callable[[bytes], object], files: list[bytes]) -> Figures:
    """The least processor time of each picture, by its size."""
    found: Figures = defaultdict(list)
    for data in files:
        with Image.open(io.BytesIO(data)) as image:
            size = f"{max(image.size)}×{min(image.size)}"
        rounds = []
        for _ in range(ROUNDS):
            started = time.thread_time()
            read(data)
            rounds.append(time.thread_time() - started)
        found[size].append(1e3 * min(rounds))
    return found


def here(files: list[bytes]) -> dict[str, Figures]:
    """The ways of this environment."""
    spec = preprocessing(SIDE)
    scaled = spec.model_copy(update={"decode": "scaled"})
    return {
        "Offramp": timed(lambda data: decode(data, spec, _MAX_PIXELS), files),
        "Offramp, --decode scaled": timed(lambda data: decode(data, scaled, _MAX_PIXELS), files),
        "Pillow, whole": timed(lambda data: rival.fitted(data, SIDE, SHORTER, 0), files),
        "Pillow, draft of twice the size": timed(lambda data: rival.fitted(data, SIDE, SHORTER, 2), files),
        "Pillow, draft of the size": timed(lambda data: rival.fitted(data, SIDE, SHORTER, 1), files),
    }


def opencv(folder: Path) -> dict[str, Figures]:
    """The ways of OpenCV.

    Raises:
        RuntimeError: it cannot be installed.
    """
    command = [str(python_of("opencv", WORK)), str(RIVALS / "opencv_decoding.py"), str(folder)]
    command += [str(SIDE), str(SHORTER), str(ROUNDS)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    found: dict[str, Figures] = json.loads(ended.stdout)
    return found


def main() -> int:
    """Measure and print."""
    os.environ["OMP_NUM_THREADS"] = "1"
    files = list(pictures(COUNT))
    folder = WORK / "decoding"
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(files):
        (folder / f"{number:05d}.jpg").write_bytes(data)
    ways = here(files)
    try:
        ways |= opencv(folder)
    except RuntimeError as error:
        print(f"OpenCV: not measured. {error}")
    sizes = [f"{max(size)}×{min(size)}" for size in SIZES]
    print(f"| processor ms, median of {COUNT // len(SIZES)} pictures | {' | '.join(sizes)} |")
    print("|" + "---|" * (1 + len(sizes)))
    for name, figures in ways.items():
        cells = (f"{Spread.of(figures[size]).median:.2f}" for size in sizes)
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
