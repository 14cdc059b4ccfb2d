"""When do few errors on held-out rows prove a risk to be small? Hoeffding–Bentkus p-values in plain NumPy.

Source: Bates et al., *Distribution-Free, Risk-Controlling Prediction Sets* (Journal of the ACM, 2021),
section 3.1; used for early exits by Jazbec et al., *Fast yet Safe: Early-Exiting with Risk Control* (NeurIPS
2024).
"""

from math import ceil, e, exp, log, log1p

import numpy as np

from serving.errors import TermsError

DEFAULT_DELTA = 0.05
"""The chance, over the draw of the certifying images, that a guarantee does not hold."""

SMALLEST_RISK = 1e-9
"""The least risk that is looked at: thousands of millions of images would be needed to rule it out."""


def p_value(errors: int, images: int, max_risk: float) -> float:
    """The chance of so few errors, or fewer, if the risk were over `max_risk`; an upper bound of it.

    Args:
        errors: how many of the images count as errors.
        images: how many were drawn, independently.
        max_risk: the risk that is to be ruled out, in (0, 1).

    Returns:
        The smaller of Hoeffding's and Bentkus's bound, at most 1. For losses of 0 and 1, as here, Bentkus's
        bound is e times the binomial tail.
    """
    found = errors / images
    hoeffding = exp(-images * _divergence(found, max_risk)) if found < max_risk else 1.0
    return min(hoeffding, e * binomial_tail(errors, images, max_risk), 1.0)


def binomial_tail(successes: int, trials: int, chance: float) -> float:
    """The probability of at most `successes` in so many trials; exact to rounding, whatever underflows.

    >>> round(binomial_tail(1, 3, 0.5), 12)
    0.5
    """
    counts = np.arange(successes)
    ratios = np.log((trials - counts) / (counts + 1)) + (log(chance) - log1p(-chance))
    log_terms = trials * log1p(-chance) + np.concatenate(([0.0], np.cumsum(ratios)))
    largest = float(log_terms.max())
    return min(1.0, exp(largest + log(float(np.exp(log_terms - largest).sum()))))


def most_errors(images: int, max_risk: float, delta: float) -> int:
    """How many errors still prove that the risk is at most `max_risk`; -1 if not even none would.

    Args:
        images: how many certifying images there are.
        max_risk: in (0, 1).
        delta: the p-value that is low enough, in (0, 1).
    """
    low, high = -1, images  # the p-value rises with the errors; at all images it is 1
    while images and high - low > 1:
        middle = (low + high) // 2
        if p_value(middle, images, max_risk) <= delta:
            low = middle
        else:
            high = middle
    return low


def least_n(max_drop: float, delta: float = DEFAULT_DELTA) -> int:
    """The least number of certifying images for which a guarantee can be given at all.

    With fewer, even thresholds that made no error on any of them would not be proven good enough. With just
    so many, nothing but the full depth may be: more images buy cheaper thresholds.

    >>> least_n(0.02), least_n(0.01, delta=0.01)
    (149, 459)

    Raises:
        TermsError: a number outside (0, 1), or a `max_drop` below SMALLEST_RISK.
    """
    check_probability("max_drop", max_drop)
    check_probability("delta", delta)
    if max_drop < SMALLEST_RISK:
        raise TermsError(
            f"expected max_drop of at least {SMALLEST_RISK:g}, found {max_drop:g}: a smaller one would take "
            "more certifying images than anybody has"
        )
    images = max(1, ceil(log(delta) / log1p(-max_drop)) - 1)
    while p_value(0, images, max_drop) > delta:  # rounding may have put the quotient on either side
        images += 1
    return images


def check_probability(name: str, value: float) -> None:
    """Refuse what is not a number between 0 and 1.

    Raises:
        TermsError: names the parameter, what was expected and what was found.
    """
    if not 0 < value < 1:  # written so that a NaN fails it
        raise TermsError(f"expected {name} between 0 and 1, both excluded (0.02, say); found {value:g}")


def _divergence(found: float, assumed: float) -> float:
    """The Kullback–Leibler divergence between two coins, in nats."""
    heads = found * log(found / assumed) if found > 0 else 0.0
    tails = (1 - found) * (log1p(-found) - log1p(-assumed)) if found < 1 else 0.0
    return heads + tails
