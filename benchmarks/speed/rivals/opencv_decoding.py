"""OpenCV's decoding and resizing, timed in an environment of its own; prints JSON.

python opencv_decoding.py FOLDER SIDE SHORTER ROUNDS
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

_REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def fitted(data: bytes, size: tuple[int, int], side: int, shorter: int, margin: int) -> Any:
    """Decode, crop the centre and resize; `margin` times the size is kept while decoding, all of it for 0."""
    ratio = min(size) // (margin * shorter) if margin else 1
    scale = next((scale for scale in (8, 4, 2) if ratio >= scale), 1)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[scale])
    height, width = image.shape[:2]
    kept = side * min(height, width) / shorter
    top, left = round((height - kept) / 2), round((width - kept) / 2)
    crop = image[top : top + round(kept), left : left + round(kept)]
    return cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Time every picture of a folder."""
    cv2.setNumThreads(1)
    folder, (side, shorter, rounds) = Path(sys.argv[1]), map(int, sys.argv[2:5])
    files = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    found: dict[str, dict[str, list[float]]] = {}
    ways = {"OpenCV, whole": 0, "OpenCV, reduced to twice the size": 2, "OpenCV, reduced to the size": 1}
    for name, margin in ways.items():
        figures: dict[str, list[float]] = defaultdict(list)
        for data in files:
            height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB).shape[:2]
            took = []
            for _ in range(rounds):
                started = time.thread_time()
                fitted(data, (width, height), side, shorter, margin)
                took.append(1e3 * (time.thread_time() - started))
            figures[f"{max(width, height)}×{min(width, height)}"].append(min(took))
        found[name] = figures
    print(json.dumps(found))


if __name__ == "__main__":
    main()
