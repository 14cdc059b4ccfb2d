"""A few images that come with a bundle, so that people can try it at once (`samples.npz`).

They are drawn at random, of as many classes as can be, from the calibration images that thresholds are
fitted on. The network has not learned them, so that they leave where images like them leave. No guarantee and
no test figure rests on them, so that looking at them spoils none.
"""

import io
from collections import Counter
from collections.abc import Callable

import numpy as np
from PIL import Image

from serving.bundle.samples import MAX_IMAGES, MAX_PIXELS, ROOM_BYTES, Samples
from serving.images.preprocessing import Preprocessing
from training.data.batches import Data
from training.data.images import Ints, Pixels
from training.data.seeds import generator
from training.data.split import certifying_half

_QUALITY = 90
"""Of JPEG, where PNG files would be too large."""


def draw_samples(
    data: Data, count: int, *, labelled: bool = True, tell: Callable[[str], None] = lambda text: None
) -> Samples | None:
    """Draw images from those that a bundle is calibrated on, and encode them.

    They are PNG files of the pixels that the server scales the originals to, before it crops them, so that it
    makes the same of both; JPEG where they would not fit into the file, and then as many as do.

    Args:
        data: of the export.
        count: images at most; 0 draws none.
        labelled: whether its labels are true classes.
        tell: takes a sentence where fewer are drawn.

    Raises:
        DataError: an image cannot be read.
    """
    if not count:
        return None
    labels, spec = data.labels("validation"), _uncropped(data.spec)
    fit = np.flatnonzero(~certifying_half(len(labels), data.split.seed))
    most = min(count, MAX_IMAGES, MAX_PIXELS // (spec.height * spec.width))
    chosen = _mixed(fit, labels, generator(data.split.seed, "samples"))[:most]
    images = _encoded(data.pictures("validation", chosen, spec)) if len(chosen) else ()
    if len(images) < count:
        tell(f"{len(images)} samples instead of {count}: there are no more, or more would be too large")
    truth = tuple(labels[chosen[: len(images)]].tolist()) if labelled else None
    return Samples(images, truth) if images else None


def _mixed(rows: Ints, labels: Ints, rng: np.random.Generator) -> Ints:
    """Return rows in random order: one of each class first, then a second of each, and so on."""
    order, seen = rng.permutation(rows), Counter[int]()
    rounds = []
    for label in labels[order].tolist():
        rounds.append(seen[label])
        seen[label] += 1
    return order[np.argsort(rounds, kind="stable")]


def _uncropped(spec: Preprocessing) -> Preprocessing:
    """Return the square that the server scales an image to, whose centre it crops."""
    if spec.resize is None:
        return spec
    return spec.model_copy(update={"height": spec.resize, "width": spec.resize})


def _encoded(images: Pixels) -> tuple[bytes, ...]:
    exact = [_file(image, "PNG", optimize=True) for image in images]
    if sum(map(len, exact)) <= ROOM_BYTES:
        return tuple(exact)
    smaller = [_file(image, "JPEG", quality=_QUALITY, optimize=True) for image in images]
    fitting = np.cumsum([len(file) for file in smaller]) <= ROOM_BYTES
    return tuple(smaller[: int(fitting.sum())])


def _file(image: Pixels, image_format: str, **options: object) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(image).save(file, image_format, **options)
        return file.getvalue()
