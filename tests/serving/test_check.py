"""The judge passes good bundles, and says of bad ones what is wrong and what to do."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from serving.bundle import Calibration, Manifest, write_bundle
from serving.bundle.graph_checks import parse_model
from serving.bundle_check import CHECKS, check_bundle
from serving.check import main
from tests.bundles import tiny_bundle, tiny_calibration, tiny_manifest, tiny_segments


def failures(folder: Path) -> dict[str, str]:
    return {verdict.check: verdict.detail for verdict in check_bundle(folder) if not verdict.ok}


def written(
    folder: Path,
    manifest: Manifest | None = None,
    segments: Sequence[bytes] | None = None,
    calibration: Calibration | None = None,
) -> Path:
    return write_bundle(
        folder,
        manifest or tiny_manifest(),
        segments or tiny_segments(),
        calibration or tiny_calibration(),
    ).folder


def changed(index: int, change: Callable[[onnx.GraphProto], None]) -> list[bytes]:
    """Return the tiny segments with one graph changed; its inputs and outputs keep their names."""
    segments = tiny_segments()
    model = parse_model(segments[index])
    change(model.graph)
    segments[index] = model.SerializeToString()
    return segments


@pytest.mark.parametrize("rows", [False, True])
def test_a_good_bundle_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: bool) -> None:
    folder = tiny_bundle(tmp_path / "tiny", rows=rows).folder
    assert main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["ok   files", *(f"ok   {check}" for check in CHECKS)]


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    assert main([str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["bundle"] == str(folder)
    assert [check["check"] for check in report["checks"]] == ["files", *CHECKS]


@pytest.mark.parametrize("what", ["nothing", "a file", "an empty folder", "garbage"])
def test_garbage_is_judged_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    path = tmp_path / "bundle"
    if what == "a file":
        path.write_bytes(b"bundle")
    elif what != "nothing":
        path.mkdir()
    if what == "garbage":
        (path / "manifest.json").write_bytes(np.random.default_rng(0).bytes(1000))
    assert main([str(path)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("FAIL files: bundle")
    assert len(out.splitlines()) == 1


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "error: BUNDLE: required, and not given\n"


def test_random_bytes_with_the_right_checksum(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    noise = np.random.default_rng(0).bytes(5000)
    (folder / "segment_2.onnx").write_bytes(noise)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["segments"][1]["sha256"] = hashlib.sha256(noise).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "segment_2.onnx: not an ONNX model" in failures(folder)["files"]


def test_a_graph_that_the_engine_cannot_load(tmp_path: Path) -> None:
    def unknown_operator(graph: onnx.GraphProto) -> None:
        graph.node[1].op_type = "Telepathy"

    found = failures(written(tmp_path / "tiny", segments=changed(1, unknown_operator)))
    assert found.keys() == {"engine"}
    assert "segment_2.onnx" in found["engine"]


def test_logits_are_no_probabilities(tmp_path: Path) -> None:
    def no_softmax(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if node.op_type == "Softmax")
        node.op_type = "Identity"
        del node.attribute[:]

    found = failures(written(tmp_path / "tiny", segments=changed(2, no_softmax)))
    assert found.keys() == {"engine"}
    assert "the rows of exit 3 are no probabilities" in found["engine"]
    assert "Softmax" in found["engine"]


def test_answers_may_not_depend_on_the_batch(tmp_path: Path) -> None:
    def mix_rows(graph: onnx.GraphProto) -> None:
        """Take the batch's mean from every state, as BatchNorm in training mode does."""
        node = next(node for node in graph.node if node.op_type == "MatMul" and node.output[0] == "logits")
        axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
        graph.initializer.append(axes)
        place = list(graph.node).index(node)
        state = node.input[0]
        node.input[0] = "mixed"
        graph.node.insert(place, helper.make_node("ReduceMean", [state, "axes"], ["mean"], keepdims=1))
        graph.node.insert(place + 1, helper.make_node("Sub", [state, "mean"], ["mixed"]))

    found = failures(written(tmp_path / "tiny", segments=changed(0, mix_rows)))
    assert found.keys() == {"engine"}
    assert "depend on the batch" in found["engine"]


def test_a_batch_that_changes_its_size(tmp_path: Path) -> None:
    def twice(graph: onnx.GraphProto) -> None:
        """Pass on the features twice over, while the shapes in the file still look right."""
        node = next(node for node in graph.node if node.output[0] == "pixels_1")
        node.op_type = "Concat"
        node.input.append(node.input[0])
        node.attribute.append(helper.make_attribute("axis", 0))

    found = failures(written(tmp_path / "tiny", segments=changed(0, twice)))
    assert found.keys() == {"engine"}
    assert "pixels_1" in found["engine"]


def test_accuracies_must_come_from_the_calibration(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    boasting = tuple(spec.model_copy(update={"validation_accuracy": 0.99}) for spec in manifest.segments)
    found = failures(written(tmp_path / "tiny", manifest.model_copy(update={"segments": boasting})))
    assert found.keys() == {"accuracy"}
    assert "gives exit 1 an accuracy of 0.9900" in found["accuracy"]


def test_without_certifying_images_the_check_says_what_is_lost(tmp_path: Path) -> None:
    calibration = replace(tiny_calibration(), certify=np.zeros(400, np.bool_))
    folder = written(tmp_path / "tiny", calibration=calibration)
    assert not failures(folder)
    told = {verdict.check: verdict.detail for verdict in check_bundle(folder)}
    assert "none to certify them: every max_drop will be refused" in told["halves"]


def test_one_class_is_no_calibration(tmp_path: Path) -> None:
    tiny = tiny_calibration()
    shift = tiny.labels.astype(np.int32)[:, None]
    one_class = replace(tiny, labels=tiny.labels * 0, prediction=(tiny.prediction - shift) % 4)
    assert failures(written(tmp_path / "tiny", calibration=one_class)).keys() == {"classes"}
