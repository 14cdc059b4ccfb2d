"""Accuracy from labels: has it fallen under the calibration's, and how many answers does leaving early lose?

**The alarm** is a test that may be looked at after every label, for ever (an e-process; Ramdas, Grünwald,
Vovk and Shafer, *Game-Theoretic Statistics and Safe Anytime-Valid Inference*, Statistical Science 2023). The
hypothesis is that an image is answered rightly with a probability of at least p, the calibration's accuracy
under the request's own budget. A bet of the share s against it multiplies the capital with every label,

    right: 1 - s        wrong: 1 + s p / (1 - p)

and wins nothing on average while the hypothesis holds, however many labels come. A fall can begin any time: a
new stake of 1 / (t (t + 1)) is laid at label t, so that all stakes together are 1 (the mixture of restarts
of Shin, Ramdas and Rinaldo, *E-Detectors*, NEJSDS 2023, with weights that sum to 1, which bounds the chance
of a false alarm for ever and not only its rate). Several s bet side by side. By Ville's inequality the sum
reaches 1 / delta with a probability of at most delta.

**The certificate** bounds the share of answers that leaving early loses (right at full depth, wrong where the
image left), from labelled images of the random shadow sample. It is made anew at sample sizes that are set
beforehand, 200, 400, 800, …; the k-th is allowed the chance delta / 2^k, so that all of them hold together
(Clopper and Pearson, Biometrika 1934, and Bonferroni). An alarm begins a new series: the traffic is another.

Pure: no clock, no I/O.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.policy.risk import p_value

STAKES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Shares that are bet; each wins most where accuracy has fallen by that share."""
FIRST_SIZE = 200
"""Labelled images of the first certificate; each later one has twice as many."""

_WINDOW = 500
_BISECTIONS = 50
_LEAST, _MOST = 0.01, 0.999  # expected accuracies outside would make bets that one label decides


class AccuracyAlarm:
    """Tells a fall of accuracy from chance.

    Args:
        delta: the chance that a false alarm is ever raised, in (0, 1).

    Attributes:
        raised: whether accuracy has fallen. It is lowered again once the last 500 labels are as right as
            expected, and the test begins anew.
        labels: how many were taken since the test began.
    """

    def __init__(self, delta: float) -> None:
        self._delta = delta
        self.raised = False
        self.labels = 0
        self._capital = [0.0] * len(STAKES)
        self._recent: deque[float] = deque(maxlen=_WINDOW)

    @property
    def evidence(self) -> float:
        """The capital of those who bet on a fall; from 1 / delta on it is an alarm."""
        return sum(self._capital) / len(STAKES)

    def add(self, right: bool, expected: float) -> bool:
        """Take in one label.

        Args:
            right: whether the answer was.
            expected: the probability that it is, at least, if nothing has changed.

        Returns:
            Whether the alarm was raised, or lowered, by it.
        """
        expected = min(max(expected, _LEAST), _MOST)
        self._recent.append(right - expected)
        if self.raised:
            if len(self._recent) < _WINDOW or sum(self._recent) < 0:
                return False
            self._restart(raised=False)
            return True
        self.labels += 1
        laid = 1 / (self.labels * (self.labels + 1))
        self._capital = [
            (capital + laid) * (1 - stake if right else 1 + stake * expected / (1 - expected))
            for capital, stake in zip(self._capital, STAKES, strict=True)
        ]
        if self.evidence < 1 / self._delta:
            return False
        self._restart(raised=True)
        return True

    def state(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "raised": self.raised,
            "labels": self.labels,
            "capital": list(self._capital),
            "recent": list(self._recent),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            KeyError, TypeError, ValueError: it is not of that form.
        """
        capital = [float(each) for each in state["capital"]]
        if len(capital) != len(STAKES) or not all(each >= 0 for each in capital):
            raise ValueError(f"expected {len(STAKES)} capitals of 0 or more, found {capital}")
        self.raised, self.labels = bool(state["raised"]), int(state["labels"])
        self._capital = capital
        self._recent = deque((float(each) for each in state["recent"]), _WINDOW)

    def _restart(self, *, raised: bool) -> None:
        self.raised, self.labels = raised, 0
        self._capital = [0.0] * len(STAKES)
        self._recent.clear()


@dataclass(frozen=True, slots=True)
class TrafficCertificate:
    """At most the share `bound` of answers is lost by leaving early, with a chance of 1 - delta.

    Attributes:
        images: labelled images of the sample that it rests on.
        lost: of these, answers that leaving early lost.
        bound: the highest share that is left possible.
        delta: the chance that any certificate of the series does not hold.
    """

    images: int
    lost: int
    bound: float
    delta: float


class Certification:
    """Certificates at preset sample sizes.

    Args:
        delta: the chance that any of them does not hold, in (0, 1).

    Attributes:
        images: labelled images of the sample.
        lost: of these, answers that leaving early lost.
        latest: the last certificate; None before the first.
    """

    def __init__(self, delta: float) -> None:
        self._delta = delta
        self.images = self.lost = 0
        self._made = 0
        self.latest: TrafficCertificate | None = None

    def add(self, lost: bool) -> None:
        """Take in one labelled image of the sample."""
        self.images += 1
        self.lost += lost
        if self.images >= FIRST_SIZE * 2**self._made:
            self._made += 1
            bound = risk_bound(self.lost, self.images, self._delta / 2**self._made)
            self.latest = TrafficCertificate(self.images, self.lost, bound, self._delta)

    def correct(self, lost_before: bool, lost_now: bool) -> None:
        """Count an image differently whose label was corrected; certificates that were made stay."""
        self.lost = min(max(self.lost + lost_now - lost_before, 0), self.images)

    def restart(self) -> None:
        """Begin a new series: what was sampled before says nothing of the traffic now."""
        self.images = self.lost = self._made = 0
        self.latest = None

    def state(self) -> dict[str, Any]:
        """All of it, for JSON."""
        latest = self.latest
        return {
            "images": self.images,
            "lost": self.lost,
            "made": self._made,
            "latest": None if latest is None else [latest.images, latest.lost, latest.bound],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            KeyError, TypeError, ValueError: it is not of that form.
        """
        self.images, self.lost, self._made = (int(state[name]) for name in ("images", "lost", "made"))
        if not 0 <= self.lost <= self.images or self._made < 0:
            raise ValueError(f"expected counts of images, found {dict(state)}")
        self.latest = None
        if state["latest"] is not None:
            images, lost, bound = state["latest"]
            self.latest = TrafficCertificate(int(images), int(lost), float(bound), self._delta)


def risk_bound(errors: int, images: int, delta: float) -> float:
    """The highest risk that so few errors leave possible, but for the chance `delta` (Clopper and Pearson).

    >>> round(risk_bound(0, 299, 0.05), 3), risk_bound(5, 5, 0.05)
    (0.01, 1.0)
    """
    if errors >= images:
        return 1.0
    low, high = errors / images, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if p_value(errors, images, middle) > delta:
            low = middle
        else:
            high = middle
    return high
