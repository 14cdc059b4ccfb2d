"""Exits that answer together: each by a geometric ensemble of itself and the exits before it.

    log p̂_k = log softmax(c_k · log p̂_{k−1} + o_k · log p_k),  p̂_1 = p_1

Source: the geometric ensembling of Wołczyk et al., *Zero Time Waste* (NeurIPS 2021). Deviations: a recurrence
of two numbers an exit, in place of one for every earlier exit and a bias for every class, so that log p̂ of
[N, C] is all that crosses a boundary; and the numbers are fitted one exit after the other to answers of the
serving engine, on the images that thresholds may be fitted on.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from serving.bundle import TensorSpec
from training.adopting.assembling import Assembled, Nodes
from training.adopting.network.batch import BATCH
from training.calibration.collect import Labels, Probabilities
from training.calibration.temperature import ENOUGH_ROWS
from training.exporting.graph import Boundary
from training.models.flops import SegmentFlops

Floats = npt.NDArray[np.float64]

SMALLEST = np.float32(1e-30)
"""A probability that underflowed is taken for this."""

_PRIOR = 1e-3
"""Weight of the distance from (0, 1), an exit by itself, in nats per image: answers without an error have no
likeliest weights."""
_STEPS, _CLOSE, _HALVINGS = 50, 1e-10, 30


@dataclass(frozen=True)
class Ensemble:
    """The weights of a geometric ensemble of exits.

    Args:
        carried: per exit from the second on, the weight c of the exits before it.
        own: likewise, the weight o of the exit's own answer.
    """

    carried: tuple[float, ...]
    own: tuple[float, ...]

    def __call__(self, probabilities: Probabilities) -> Probabilities:
        """Return what the exits answer together, float32 [N, K, C], by what each answers by itself.

        Exits behind those that take part answer by themselves.
        """
        together = probabilities.copy()
        before = _log(probabilities[:, 0])
        for number, (carried, own) in enumerate(zip(self.carried, self.own, strict=True), start=1):
            before = _normalised(carried * before + own * _log(probabilities[:, number]))
            together[:, number] = np.exp(before)
        return together


def fit_ensemble(probabilities: Probabilities, labels: Labels, exits: int) -> Ensemble:
    """Find the weights that give the labels the highest likelihood.

    Args:
        probabilities: float32 [N, K, C] in random order: the first `ENOUGH_ROWS` are used.
        labels: [N], or the full network's own answers.
        exits: how many of the first exits take part.
    """
    probabilities, labels = probabilities[:ENOUGH_ROWS], labels[:ENOUGH_ROWS]
    before, weights = _log(probabilities[:, 0]), []
    for number in range(1, exits):
        own = _log(probabilities[:, number])
        weights.append(_fitted(np.stack([before, own]), labels))
        before = _normalised(weights[-1][0] * before + weights[-1][1] * own)
    return Ensemble(tuple(float(carried) for carried, _ in weights), tuple(float(own) for _, own in weights))


def ensembled(assembled: Assembled, ensemble: Ensemble) -> Assembled:
    """Let the exits of a graph answer together.

    Args:
        assembled: the graph, whose exits answer by themselves.
        ensemble: the weights; exits behind those that take part stay as they are.
    """
    whole, parts, flops = copy.deepcopy(assembled.whole), list(assembled.parts), list(assembled.flops)
    together = len(ensemble.own) + 1
    answers = {part.outputs[0].name: f"answer_{number}" for number, part in enumerate(parts[:together], 1)}
    for node in whole.graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = answers.get(name, name)
        node.name = answers.get(node.name, node.name)
    crossing: TensorSpec | None = None
    for number, part in enumerate(parts[:together], start=1):
        answer = part.outputs[0]
        inputs = part.inputs if crossing is None else (*part.inputs, crossing)
        after = f"features_{number}_{len(part.outputs)}" if number < together else None
        made = _exit_nodes(number, answer.name, crossing.name if crossing else None, ensemble, after)
        whole.graph.node.extend(made.nodes)
        whole.graph.initializer.extend(made.weights)
        crossing = answer.model_copy(update={"name": after}) if after else None
        parts[number - 1] = Boundary(inputs, (*part.outputs, *([crossing] if crossing else [])))
        classes = answer.shape[1] or 0
        cost = flops[number - 1]
        flops[number - 1] = SegmentFlops(cost.body, cost.head + sum(map(_is_counted, made.nodes)) * classes)
        if after:
            shape: list[str | int | None] = [BATCH, classes]
            whole.graph.output.append(helper.make_tensor_value_info(after, TensorProto.FLOAT, shape))
    return replace(assembled, whole=whole, parts=parts, flops=flops)


def _exit_nodes(number: int, answer: str, before: str | None, ensemble: Ensemble, after: str | None) -> Nodes:
    """Return the operators of one exit, which make its answer and the tensor that crosses behind it."""
    made, name = Nodes(), f"ensemble_{number}"
    kept = made.add("Max", f"answer_{number}", f"{name}.kept", SMALLEST)
    if before is None:
        made.add("Identity", f"answer_{number}", answer)
        if after:
            made.add("Log", kept, after)
        return made
    own = made.add("Mul", made.add("Log", kept, f"{name}.log"), f"{name}.own", _weight(ensemble.own, number))
    carried = made.add("Mul", before, f"{name}.carried", _weight(ensemble.carried, number))
    made.nodes.append(helper.make_node("Add", [carried, own], [f"{name}.sum"], name=f"{name}.sum"))
    made.add("Softmax", f"{name}.sum", answer, axis=-1)
    if after:
        made.add("LogSoftmax", f"{name}.sum", after, axis=-1)
    return made


def _weight(weights: Sequence[float], number: int) -> np.float32:
    return np.float32(weights[number - 2])


def _is_counted(node: object) -> bool:
    """Say whether an operator counts one per element in `training.adopting.network.onnx_flops`."""
    return getattr(node, "op_type", "") in ("Log", "Softmax", "LogSoftmax")


def _log(probabilities: Probabilities) -> Floats:
    return np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))


def _normalised(scores: Floats) -> Floats:
    top = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(top - np.log(np.exp(top).sum(axis=1, keepdims=True)))


def _fitted(scores: Floats, labels: Labels) -> Floats:
    """Return the weights [2] of scores [2, N, C] that give the labels the highest likelihood.

    By Newton's method: the negative log-likelihood is convex in them, and strictly so with the prior.
    """
    weights = np.array([0.0, 1.0])
    loss, slope, curvature = _loss(scores, labels, weights)
    for _ in range(_STEPS):
        step = np.linalg.solve(curvature, slope)
        size = 1.0
        for _ in range(_HALVINGS):
            tried = _loss(scores, labels, weights - size * step)
            if tried[0] <= loss:
                break
            size /= 2
        else:
            break
        gained, weights = loss - tried[0], weights - size * step
        loss, slope, curvature = tried
        if gained < _CLOSE:
            break
    return weights


def _loss(scores: Floats, labels: Labels, weights: Floats) -> tuple[float, Floats, Floats]:
    """Return the loss in nats per image, its slope [2] and its curvature [2, 2]."""
    log = _normalised(np.tensordot(weights, scores, 1))
    chosen = np.exp(log)
    rows = np.arange(len(labels))
    apart = scores - (scores * chosen).sum(axis=2, keepdims=True)
    away = weights - (0.0, 1.0)
    slope = -apart[:, rows, labels].mean(axis=1) + 2 * _PRIOR * away
    curvature = np.einsum("inc,jnc,nc->ij", apart, apart, chosen) / len(labels) + 2 * _PRIOR * np.eye(2)
    return float(-log[rows, labels].mean() + _PRIOR * away @ away), slope, curvature
