"""A net in fewer bits keeps its accuracy, or says which layers cost it and keeps those in float, or fails."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from tests.training.exporting.test_graph import run_chain
from tests.training.small_net import PARTS, small_images, small_net
from training.calibration.collect import Answers
from training.errors import RunError
from training.exporting.accuracy_bar import Bar, Lowered, lowered_to_half, lowered_to_int8
from training.exporting.float16 import halve
from training.exporting.graph import Boundary, split_at_boundaries
from training.exporting.int8 import Quantised, insert_quantizers
from training.exporting.int8_fallback import quantised_layers

IMAGES = small_images(400, seed=1)
LABELS = (
    onnxruntime.InferenceSession(small_net().SerializeToString())
    .run(["probabilities_2"], {"images": IMAGES})[0]
    .argmax(axis=1)
)


def measure(whole: onnx.ModelProto, parts: Sequence[Boundary]) -> Answers:
    """Serve the images; right is what the last exit of the float net says."""
    probabilities = np.stack(run_chain(split_at_boundaries(whole, parts), parts, IMAGES), axis=1)
    return Answers(probabilities, LABELS, np.arange(len(IMAGES)) % 2 == 0)


def bar(max_drop: float) -> Bar:
    return Bar(measure(small_net(), PARTS).fit_accuracy, max_drop)


def quantised(outlier: float) -> Quantised:
    return insert_quantizers(small_net(outlier), PARTS, [small_images(64)], reduce_range=True)


def lowered(outlier: float, max_drop: float) -> tuple[Lowered, list[str]]:
    told: list[str] = []
    images = [small_images(64)]
    found = lowered_to_int8(quantised(outlier), PARTS, measure, bar(max_drop), images, told.append)
    return found, told


def test_a_net_that_keeps_its_accuracy_is_int8_throughout() -> None:
    found, told = lowered(outlier=1, max_drop=3)
    assert (found.kept, told) == ((), [])
    assert found.parts[1].inputs[0].dtype == "uint8"
    assert bar(3).losses(found.answers).max() <= 3


def test_the_layer_that_costs_accuracy_is_named_and_kept_in_float() -> None:
    found, told = lowered(outlier=1e4, max_drop=3)
    assert found.kept == ("second",)
    assert bar(3).losses(found.answers).max() <= 3
    assert told[0].startswith("int8 loses ")
    assert "points at exit " in told[0]
    assert told[1].startswith("quantised alone, these change a probability most on average: second (")
    weights = {tensor.name for tensor in found.whole.graph.initializer}
    assert "second.weight_in_float" in weights
    assert "third.weight_in_float" not in weights


def test_answers_are_those_of_the_net_that_is_returned() -> None:
    found, _ = lowered(outlier=1e4, max_drop=3)
    np.testing.assert_array_equal(
        found.answers.probabilities, measure(found.whole, found.parts).probabilities
    )


def test_a_bar_out_of_reach_is_an_error_that_names_the_layers() -> None:
    higher = Bar(bar(0).accuracy + 0.05, 0)
    with pytest.raises(
        RunError, match=r"even with the 2 worst of its 7 layers in float: above all second \("
    ) as e:
        lowered_to_int8(quantised(1e4), PARTS, measure, higher, [small_images(64)], lambda text: None)
    assert "Nothing was written: allow more with --max-drop" in str(e.value)
    assert "0 allowed" in str(e.value)
    assert len(quantised_layers(quantised(1e4))) == 7


def test_more_layers_are_kept_until_it_holds() -> None:
    asked: list[int] = []

    def reluctant(whole: onnx.ModelProto, parts: Sequence[Boundary]) -> Answers:
        """Be wrong until the third try, which is the one with two layers in float."""
        asked.append(len(whole.graph.node))
        answers = measure(small_net(), PARTS)
        wrong: npt.NDArray[np.float32] = 1 - answers.probabilities
        return answers if len(asked) == 3 else Answers(wrong, LABELS, answers.certify)

    found = lowered_to_int8(quantised(1), PARTS, reluctant, bar(1), [small_images(16)], lambda text: None)
    assert len(found.kept) == 2
    assert len(asked) == 3


def test_half_precision_holds_or_fails() -> None:
    found = lowered_to_half(*halve(small_net(), PARTS), measure, bar(3))
    assert found.parts[1].inputs[0].dtype == "float16"
    worse = Bar(bar(0).accuracy + 0.1, 3)
    with pytest.raises(RunError, match=r"float16 loses 1\d\.\d\d points at exit . .* Nothing was written"):
        lowered_to_half(*halve(small_net(), PARTS), measure, worse)


def test_images_kept_for_certifying_have_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    before, told = lowered(outlier=1e4, max_drop=3)
    spoiled = LABELS.copy()
    spoiled[::2] = (spoiled[::2] + 1) % 4
    monkeypatch.setattr("tests.training.exporting.test_accuracy_bar.LABELS", spoiled)

    after, told_now = lowered(outlier=1e4, max_drop=3)

    assert after.answers.accuracy[-1] < before.answers.accuracy[-1] - 0.3
    assert (after.kept, told_now) == (before.kept, told)
