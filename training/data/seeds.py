"""Random numbers that depend on what they are for, and on nothing that was drawn before."""

import hashlib

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the generator of one purpose, such as `(seed, "order", epoch, phase)`.

    Equal arguments give equal streams in any process, after any history; a run can therefore be resumed, or
    split over ranks, without storing the state of a generator.

    Args:
        seed: the user's seed, not negative.
        purpose: words and whole numbers that tell this stream from the others of the same seed.
    """
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))
