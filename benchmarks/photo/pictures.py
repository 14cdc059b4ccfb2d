"""JPEGs of mixed sizes: noise whose spectrum falls as a photograph's does, so that its files are as large."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIZES = ((500, 375), (640, 480), (1024, 768), (1280, 720), (1920, 1080))
"""Width and height in pixels; every fifth picture stands upright."""

POOL = 96
"""Pictures that every row of the benchmark is measured on."""

_QUALITY = 85
_COARSEST = 3  # pixels on the shorter side of the first octave
_FALL = 0.62  # the strength of an octave, as a share of that of the octave before


def pictures(count: int = POOL, seed: int = 0) -> Iterator[bytes]:
    """Make JPEG files; a larger pool begins as a smaller one does."""
    for number in range(count):
        random = np.random.default_rng((seed, number))
        stream = io.BytesIO()
        width, height = SIZES[number % len(SIZES)]
        size = (
            (height, width) if number % len(SIZES) == number // len(SIZES) % len(SIZES) else (width, height)
        )
        picture(*size, random).save(stream, "JPEG", quality=_QUALITY)
        yield stream.getvalue()


def picture(width: int, height: int, random: np.random.Generator) -> Image.Image:
    """One picture: octaves of smooth noise, each half as coarse as the one before, and weaker."""
    strength, side = random.uniform(35, 75), _COARSEST
    whole = np.full((height, width, 3), random.uniform(80, 170), np.float32)
    while side < min(width, height):
        shape = (side * height // min(width, height), side * width // min(width, height), 3)
        whole += _enlarged(random.normal(0, strength, shape).astype(np.float32), width, height)
        side, strength = 2 * side, strength * _FALL
    return Image.fromarray(whole.clip(0, 255).astype(np.uint8))


def write(folder: Path, count: int = POOL) -> list[Path]:
    """Write the pool as files, numbered in order, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    for path, data in zip(paths, pictures(count), strict=True):
        path.write_bytes(data)
    return paths


def _enlarged(noise: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    planes = [
        np.asarray(Image.fromarray(noise[..., channel]).resize((width, height), Image.Resampling.BICUBIC))
        for channel in range(3)
    ]
    return np.stack(planes, axis=-1)
