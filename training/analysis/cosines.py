"""Cosines between the vectors of n exits, from Gram matrices that add up over parameters.

The inner products of the exits' gradients of one parameter tensor make a Gram matrix [K, K]. Those of a
segment or of the whole net are sums of them, so that one measurement gives the cosines of every level.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]


def shared_parameters(reach: Tensor) -> list[int]:
    """Return the indices of the parameters that at least two exits reach.

    Args:
        reach: bool [exits, parameters].
    """
    return torch.nonzero(reach.sum(0) > 1).flatten().tolist()


def gram(vectors: Tensor, used_by: Tensor) -> Floats:
    """Return the inner products [K, K] of the exits' vectors; zero where an exit does not use the parameter.

    Args:
        vectors: of the exits that use it, ascending [m, size].
        used_by: bool [K], m of them true.
    """
    rows = np.flatnonzero(used_by.cpu().numpy())
    products = np.zeros((len(used_by), len(used_by)))
    wide = vectors.double()
    products[np.ix_(rows, rows)] = (wide @ wide.T).cpu().numpy()
    return products


def cosines(grams: Floats) -> Floats:
    """Return the cosines of Gram matrices [..., K, K]; NaN beside a vector of length zero.

    >>> cosines(np.array([[4.0, -2.0], [-2.0, 4.0]])).tolist()
    [[1.0, -0.5], [-0.5, 1.0]]
    """
    lengths = np.sqrt(np.diagonal(grams, axis1=-2, axis2=-1))
    lengths = np.where(lengths > 0, lengths, np.nan)
    found: Floats = grams / (lengths[..., :, None] * lengths[..., None, :])
    return np.clip(found, -1.0, 1.0)


def mean_cosines(grams: Floats) -> Floats:
    """Return the cosines [..., K, K], averaged over the samples that have them.

    Args:
        grams: [samples, ..., K, K].
    """
    found = cosines(grams)
    known = ~np.isnan(found)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(known, found, 0.0).sum(0) / known.sum(0)
    return mean


def negative_share(grams: Floats) -> Floats:
    """Return the share of the samples in which two vectors conflict (their cosine is negative) [..., K, K].

    Args:
        grams: [samples, ..., K, K].
    """
    found = cosines(grams)
    known = ~np.isnan(found)
    with np.errstate(invalid="ignore"):
        share: Floats = (known & (found < 0)).sum(0) / known.sum(0)
    return np.where(known.any(0), share, np.nan)


def summed_by(grams: Floats, keys: Sequence[int]) -> Floats:
    """Add up the Gram matrices of the parameters that have the same key.

    Args:
        grams: [samples, parameters, K, K].
        keys: [parameters], from 0.

    Returns:
        [samples, keys, K, K].
    """
    belongs = np.asarray(keys) == np.arange(max(keys) + 1)[:, None]  # [keys, parameters]
    summed: Floats = np.einsum("gp,npij->ngij", belongs.astype(np.float64), grams)
    return summed
