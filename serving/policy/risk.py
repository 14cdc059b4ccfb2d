"""When do few errors on held-out rows prove a risk to be small? Exact binomial p-values in plain NumPy.

Source: Clopper and Pearson, *The Use of Confidence or Fiducial Limits Illustrated in the Case of the
Binomial* (Biometrika, 1934); for intervals Wilson, *Probable Inference* (JASA, 1927). Jazbec et al., *Fast
yet Safe: Early-Exiting with Risk Control* (NeurIPS 2024), test with the Hoeffding–Bentkus p-value of Bates et
al. (*Distribution-Free, Risk-Controlling Prediction Sets*, Journal of the ACM, 2021), which holds for any
loss in [0, 1]. Here a loss is 0 or 1, so the number of errors is binomial and its own tail is valid;
Bentkus's bound is e times as large.
"""

from math import ceil, exp, expm1, floor, log, log1p, log10

import numpy as np

from serving.errors import TermsError

DEFAULT_DELTA = 0.05
"""The chance, over the draw of the certifying images, that a guarantee does not hold."""

LEAST_MAX_DROP = 1e-9
"""Below it no data set has the images, and counting them would exceed the precision of floats."""


def p_value(errors: int, images: int, max_risk: float) -> float:
    """The chance of so few errors, or fewer, if the risk were `max_risk`; no larger if it is over that.

    Args:
        errors: how many of the images count as errors.
        images: how many were drawn, independently.
        max_risk: the risk that is to be ruled out, in (0, 1).

    >>> round(p_value(38, 2_500, 0.02), 3)
    0.046
    """
    return binomial_tail(errors, images, max_risk)


def share_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share; with the default z, of 95%.

    >>> [round(bound, 3) for bound in share_interval(2_230, 2_500)]
    [0.879, 0.904]

    Raises:
        ValueError: no trials.
    """
    if trials < 1:
        raise ValueError("expected at least one trial")
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z * (share * (1 - share) / trials + spread / (4 * trials)) ** 0.5 / (1 + spread)
    # Rounding must not put the share outside: at 0 and 1 it is an end of the interval.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


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
    """The most errors that still prove that the risk is at most `max_risk`; -1 if not even none would.

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
        TermsError: a number outside (0, 1), or a `max_drop` under `LEAST_MAX_DROP`.
    """
    check_probability("max_drop", max_drop)
    check_probability("delta", delta)
    if max_drop < LEAST_MAX_DROP:
        raise TermsError(f"expected max_drop of at least {LEAST_MAX_DROP:g}; found {max_drop:g}")
    # Rounding may have put the quotient on either side of the whole number.
    near = ceil(log(delta) / log1p(-max_drop))
    return next(
        (n for n in (near - 1, near) if n >= 1 and p_value(0, n, max_drop) <= delta),
        max(1, near + 1),
    )


def least_drop(images: int, delta: float) -> float:
    """The smallest `max_drop` that so many certifying images can prove, if none of them is an error.

    Rounded up to three digits, so that it can be asked for; 1 where nothing can be proven.

    >>> least_drop(2_500, 0.05), least_drop(0, 0.05)
    (0.0012, 1.0)
    """
    if not images:
        return 1.0
    exact = -expm1(log(delta) / images) * (1 + 1e-9)  # rounding must not undo the proof
    unit = 10.0 ** (floor(log10(exact)) - 2)
    return min(1.0, float(f"{ceil(exact / unit) * unit:.3g}"))


def check_probability(name: str, value: float) -> None:
    """Refuse what is not a number between 0 and 1.

    Raises:
        TermsError: names the parameter, what was expected and what was found.
    """
    if not 0 < value < 1:  # written so that a NaN fails it
        raise TermsError(f"expected {name} between 0 and 1, both excluded (0.02, say); found {value:g}")
