"""Cut segments answer what the whole model answers in torch."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from serving.bundle.graph_checks import check_self_contained
from training.exporting.graph import Boundary, boundaries, export_whole, gathering, split_at_boundaries
from training.models.multi_exit import Features, MultiExitModel, Segment
from training.models.registry import architecture


class KeepAndAdd(nn.Module):
    """Pass the colours on untouched, beside what is new: one value under one name per boundary."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, features: Features) -> Features:
        colours = features[0] if features[0].ndim == 2 else features[0].mean((2, 3))
        return colours, colours, torch.relu(self.linear(colours))


class LastFeature(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 5)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.linear(features[-1])
        return logits


def passing_on() -> MultiExitModel:
    segments = [Segment(KeepAndAdd(), LastFeature()) for _ in range(3)]
    return MultiExitModel(segments, (0.5,) * 3, (0.25,) * 3, image_size=8)


def msdnet() -> MultiExitModel:
    """Two scales of which one is dropped on the way; its weights are large enough to tell exits apart."""
    small = {"base": 2, "step": 1, "blocks": 2, "grow_factors": [1, 2], "bottleneck_factors": [1, 2]}
    return architecture("msdnet-tiny", {**small, "image_size": 16}).model(4)


def run_chain(
    segments: Sequence[bytes], parts: Sequence[Boundary], images: npt.NDArray[np.uint8]
) -> list[npt.NDArray[np.float32]]:
    answers, features = [], [images]
    for segment, part in zip(segments, parts, strict=True):
        session = onnxruntime.InferenceSession(segment)
        feed = dict(zip([spec.name for spec in part.inputs], features, strict=True))
        probabilities, *features = session.run([spec.name for spec in part.outputs], feed)
        answers.append(probabilities)
    return answers


@pytest.mark.parametrize("build", [passing_on, msdnet])
def test_segments_agree_with_torch_at_any_batch_size(build: Callable[[], MultiExitModel]) -> None:
    torch.manual_seed(0)
    model = build()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    model.train()
    parts = boundaries(model)
    segments = split_at_boundaries(export_whole(model), parts)
    assert model.training, "the model's mode is left as it was"
    for batch in (1, 3):
        images = torch.randint(0, 256, (batch, model.image_size, model.image_size, 3), dtype=torch.uint8)
        with torch.inference_mode():
            expected = [logits.softmax(-1).numpy() for logits in model.eval()(images)]
        for served, wanted in zip(run_chain(segments, parts, images.numpy()), expected, strict=True):
            assert served.dtype == np.float32
            np.testing.assert_allclose(served, wanted, atol=1e-5)
    for segment, part in zip(segments, parts, strict=True):
        graph = onnx.load_from_string(segment)
        onnx.checker.check_model(graph)
        check_self_contained(graph)
        assert [value.name for value in graph.graph.input] == [spec.name for spec in part.inputs]
        # The exporter notes the stack of every operator, with the folders of the machine it ran on.
        assert b".py" not in segment


@pytest.mark.parametrize("build", [passing_on, msdnet])
def test_segments_that_gather_answer_for_the_survivors_alone(build: Callable[[], MultiExitModel]) -> None:
    model = build()
    whole, parts = export_whole(model), boundaries(model)
    taking_rows = gathering(parts)
    assert [spec.name for spec in taking_rows[1].inputs] == [spec.name for spec in parts[1].inputs] + ["rows"]
    images = np.random.default_rng(0).integers(0, 256, (5, *(model.image_size,) * 2, 3), dtype=np.uint8)
    rows = np.array([4, 1, 2])
    expected = run_chain(split_at_boundaries(whole, parts), parts, images[rows])
    features: list[npt.NDArray[np.generic]] = [images]
    for number, (segment, part) in enumerate(
        zip(split_at_boundaries(whole, taking_rows), taking_rows, strict=True)
    ):
        onnx.checker.check_model(onnx.load_from_string(segment), full_check=True)
        # Segment 1 answers for all; the second gathers; a third has only survivors left.
        survivors = [[], [rows], [np.arange(3)]][number]
        feed = dict(zip([spec.name for spec in part.inputs], [*features, *survivors], strict=True))
        probabilities, *features = onnxruntime.InferenceSession(segment).run(
            [spec.name for spec in part.outputs], feed
        )
        found = probabilities if number else probabilities[rows]
        np.testing.assert_allclose(found, expected[number], atol=1e-6)


def test_feature_maps_that_are_concatenated_stay_in_the_blocked_layout() -> None:
    model = msdnet()
    whole, parts = export_whole(model), boundaries(model)
    poolings = [
        [list(node.input) for node in onnx.load_from_string(segment).graph.node if node.op_type == "MaxPool"]
        for segment in (*split_at_boundaries(whole, parts), *split_at_boundaries(whole, gathering(parts)))
    ]
    # The finer scale is dropped: one convolution reads it, which changes the layout by itself.
    assert poolings == [[], [["features_1_2"]], [], []]


def test_boundaries_chain() -> None:
    parts = boundaries(msdnet())
    assert [spec.name for spec in parts[0].inputs] == ["images"]
    assert parts[0].inputs[0].shape == (None, 16, 16, 3)
    assert parts[0].outputs[1:] == parts[1].inputs
    assert [part.outputs[0].name for part in parts] == ["probabilities_1", "probabilities_2"]
    assert len(parts[-1].outputs) == 1
