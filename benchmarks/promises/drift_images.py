"""Test images, plain and changed, as a bundle answers them: the pools that streams are drawn from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from serving.bundle import Bundle
from serving.engine.engine import Engine
from serving.interfaces import ScoreArray
from serving.policy.confidence import Scorer
from training.calibration.collect import engine_probabilities

SEVERITIES = (1, 2, 3)
NOISE_SIGMA, BLUR_RADIUS, CONTRAST = (8, 16, 32), (0.5, 0.8, 1.2), (0.75, 0.5, 0.3)
SKEW = (0.8, 0.6, 0.4)  # how much rarer each class is than the one before

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pool:
    """Images as a net answers them: scores, float64 [N, K], and classes, int64 [N, K]."""

    score: ScoreArray
    answer: npt.NDArray[np.int64]

    @classmethod
    def of(cls, probabilities: npt.NDArray[np.float32], scorer: Scorer) -> "Pool":
        """Score probabilities [N, K, C]."""
        exits = range(probabilities.shape[1])
        score = np.stack([scorer(exit_index, probabilities[:, exit_index]) for exit_index in exits], axis=1)
        return cls(score, probabilities.argmax(axis=2))

    def rows(self, which: npt.NDArray[np.int64]) -> "Pool":
        """Return some of the rows."""
        return Pool(self.score[which], self.answer[which])


def change(kind: str, severity: int, images: Pixels, random: np.random.Generator) -> Pixels:
    """Change images uint8 [N, H, W, 3]; severities count from 1."""
    if kind == "noise":
        noisy = images + random.normal(0, NOISE_SIGMA[severity - 1], images.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    if kind == "blur":
        blur = ImageFilter.GaussianBlur(BLUR_RADIUS[severity - 1])
        return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])
    factor = CONTRAST[severity - 1]
    return np.stack(
        [np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor)) for image in images]
    )


def make_pools(bundle: Bundle, images: Pixels, labels: npt.NDArray[np.int64]) -> dict[str, Pool]:
    """Test images, plain and changed, as the bundle answers them."""
    engine, scorer = Engine(bundle, threads=0), bundle.scorer

    def answers(pixels: Pixels) -> Pool:
        parts = [
            engine_probabilities(engine, pixels[start : start + 128]) for start in range(0, len(pixels), 128)
        ]
        return Pool.of(np.concatenate(parts), scorer)

    random = np.random.default_rng(0)
    pools = {"plain": answers(images)}
    for kind in ("noise", "blur", "contrast"):
        for severity in SEVERITIES:
            pools[f"{kind} {severity}"] = answers(change(kind, severity, images, random))
    return pools | skewed(pools["plain"], labels)


def skewed(plain: Pool, labels: npt.NDArray[np.int64]) -> dict[str, Pool]:
    """Pools in which each class is rarer than the one before."""
    pools = {}
    for severity, ratio in zip(SEVERITIES, SKEW, strict=True):
        weights = ratio ** labels.astype(float)
        chosen = np.random.default_rng(severity).choice(len(labels), len(labels), p=weights / weights.sum())
        pools[f"class skew {severity}"] = plain.rows(chosen)
    return pools
