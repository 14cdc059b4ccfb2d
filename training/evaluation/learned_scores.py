"""Scores that are learned from the calibration alone, to be compared with confidence measures.

Two, each a logistic regression per exit on what this exit and the ones before say (three measures each, and
whether their classes agree):

  - `learned right`: the chance that the exit is right, after Ilhan et al., "Adaptive Deep Neural Network
    Inference Optimization with EENet", WACV 2024, whose scoring functions see confidences, earlier scores and
    votes.
  - `learned gate`: the chance that leaving loses nothing (not the last exit alone is right), after Regol,
    Chataoui, Coates, "Jointly-Learned Exit and Inference for a Dynamic Neural Network: JEI-DNN", ICLR 2024,
    whose gates are trained on such targets.

Deviations: both sources train these together with a budget's exit distribution or the network; here the net
is as it is, and thresholds are fitted on the scores by the same policies as on any measure. The score of an
image that is fitted on comes from regressions that did not see it (five folds).

Legend of shapes: N images, K exits.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.policy.confidence import CONFIDENCE, calibration_score
from training.evaluation.curves import Bools, Floats
from training.evaluation.evaluation import Scored

RIGHT, GATE = "learned right", "learned gate"
LEARNED = (RIGHT, GATE)
FOLDS = 5
LEAST_IMAGES = 100
_STRENGTH = 1.0

Predictions = npt.NDArray[Any]


def learned(
    fitted: Mapping[str, Scored],
    fitted_prediction: Predictions,
    measured: Mapping[str, Scored],
    measured_prediction: Predictions,
) -> tuple[dict[str, Scored], dict[str, Scored]]:
    """Learn both scores, and apply them.

    Args:
        fitted: by measure, the images to learn from; plain measures that are missing are done without.
        fitted_prediction: [N, K], the classes answered.
        measured: by measure, other images.
        measured_prediction: [N, K] of these.

    Returns:
        Both sets of images, by the name of the score; nothing where there are too few images.
    """
    names = [name for name in CONFIDENCE if name in fitted]
    correct = fitted[names[0]].correct
    if len(correct) < LEAST_IMAGES:
        return {}, {}
    targets = {RIGHT: correct, GATE: correct | ~correct[:, -1:]}
    to_fit, to_measure = {}, {}
    for name, target in targets.items():
        own, other = np.ones(correct.shape), np.ones(measured[names[0]].correct.shape)
        for k in range(correct.shape[1] - 1):
            inputs = _features(fitted, fitted_prediction, names, k)
            others = _features(measured, measured_prediction, names, k)
            own[:, k], other[:, k] = _chances(inputs, target[:, k], others)
        to_fit[name] = Scored(calibration_score(own.astype(np.float32)), correct)
        score = calibration_score(other.astype(np.float32), 1)
        to_measure[name] = Scored(score, measured[names[0]].correct)
    return to_fit, to_measure


def _features(images: Mapping[str, Scored], prediction: Predictions, names: list[str], k: int) -> Floats:
    sure = [images[name].score[:, : k + 1] for name in names]
    agree = prediction[:, :k] == prediction[:, k : k + 1]
    return np.column_stack([*sure, *(np.log(np.clip(1 - s, 1e-6, 1)) for s in sure), agree])


def _chances(inputs: Floats, target: Bools, others: Floats) -> tuple[Floats, Floats]:
    from sklearn.linear_model import LogisticRegression  # only here: no other command should wait for it
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rarest = int(min(target.sum(), (~target).sum()))
    if rarest < FOLDS:  # there is nothing to tell apart
        return np.full(len(inputs), target.mean()), np.full(len(others), target.mean())
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=1_000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    own = cross_val_predict(model, inputs, target, cv=folds, method="predict_proba")[:, 1]
    return own, model.fit(inputs, target).predict_proba(others)[:, 1]
