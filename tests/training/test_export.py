"""A run becomes a bundle that the judge passes, and that answers what torch answers."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from serving.bundle import Bundle, read_bundle
from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from tests.training.small_runs import trained
from training.calibration.collect import Answers, engine_probabilities
from training.errors import ConfigError, RunError
from training.export import main
from training.exporting import export as module
from training.exporting import trial
from training.exporting.accuracy_bar import Bar
from training.exporting.config import ExportSettings
from training.exporting.export import MAX_DIFFERENCE, export
from training.models.flops import exit_flops, segment_flops
from training.runs.checkpoint import Checkpoint
from training.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "run", epochs=1, method="joint")


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("models") / "digits"
    assert main([str(run.folder), "--out", str(folder), "--samples", "5"]) == 0
    return read_bundle(folder)


def test_the_judge_passes_it(bundle: Bundle) -> None:
    assert [verdict.detail for verdict in check_bundle(bundle.folder) if not verdict.ok] == []


def test_it_answers_what_torch_answers(run: Run, bundle: Bundle) -> None:
    engine, model = Engine(bundle), run.model()
    for batch in run.data().test():
        with torch.inference_mode():
            expected = torch.stack(model(batch.images), dim=1).softmax(-1).numpy()
        served = engine_probabilities(engine, batch.images.numpy())
        assert np.abs(served - expected).max() <= MAX_DIFFERENCE


def test_the_files_and_the_manifest_say_the_licence(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.manifest.licence is None
    assert main([str(run.folder), "--out", str(tmp_path / "free"), "--licence", "mit"]) == 0
    licensed = read_bundle(tmp_path / "free")
    assert (licensed.manifest.licence, licensed.manifest.format_version) == ("mit", 2)
    props = {prop.key: prop.value for prop in onnx.load_from_string(licensed.segment_bytes(0)).metadata_props}
    assert (props["name"], props["model_license"]) == ("free", "mit")


def test_scaled_decoding_is_a_choice_of_the_export(run: Run, tmp_path: Path) -> None:
    exported = export(run, tmp_path / "scaled", ExportSettings(decode="scaled"))
    manifest = read_bundle(exported.bundle.folder).manifest
    assert manifest.format_version == 2
    assert manifest.preprocessing == run.facts.preprocessing.model_copy(update={"decode": "scaled"})


def test_the_manifest_tells_where_it_comes_from(run: Run, bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.classes == tuple("0123456789")
    assert manifest.architecture.name == "msdnet"
    assert manifest.architecture.options["blocks"] == 2
    assert manifest.method.name == "joint"
    assert manifest.method.options["epochs"] == 1
    assert manifest.data_set.name == "digits"
    assert manifest.data_set.train_images == 160
    assert manifest.preprocessing == run.facts.preprocessing
    assert manifest.exit_flops == tuple(exit_flops(segment_flops(run.model())))
    assert manifest.versions["torch"] == torch.__version__.partition("+")[0]


def test_calibration_is_the_validation_part_and_half_is_kept(run: Run, bundle: Bundle) -> None:
    calibration, data = bundle.calibration, run.data()
    np.testing.assert_array_equal(calibration.labels, data.labels("validation"))
    assert abs(int(calibration.certify.sum()) - int(calibration.fit.sum())) <= 1
    assert bundle.manifest.segments[1].validation_accuracy == pytest.approx(calibration.accuracy[1])


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_exits_that_are_left_out_cost_nothing_and_the_others_answer_as_before(
    run: Run, tmp_path: Path, precision: str
) -> None:
    words = [str(run.folder), "--out", str(tmp_path / "few"), "--exits", "2", "--precision", precision]
    assert main([*words, "--max-drop", "50"]) == 0
    few = read_bundle(tmp_path / "few")
    assert [verdict.detail for verdict in check_bundle(few.folder) if not verdict.ok] == []
    costs = segment_flops(run.model())
    assert few.manifest.exit_flops == (costs[0].body + costs[1].body + costs[1].head,)
    assert few.manifest.architecture.options["exits_kept"] == [2]
    if precision == "float32":
        images = next(iter(run.data().test())).images
        with torch.inference_mode():
            expected = run.model()(images, [1])[0].softmax(-1).numpy()
        served = engine_probabilities(Engine(few), images.numpy())[:, 0]
        np.testing.assert_allclose(served, expected, atol=MAX_DIFFERENCE)


def test_exits_auto_says_what_it_chose(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run.folder), "--out", str(tmp_path / "auto"), "--exits", "auto"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    written = read_bundle(tmp_path / "auto").manifest
    assert "of 2 are kept" in told
    assert "right on average over budgets" in told
    kept = written.architecture.options.get("exits_kept", [1, 2])
    assert isinstance(kept, list)
    assert len(written.segments) == len(kept)


def test_samples_come_only_where_they_are_wanted(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.samples is not None
    assert len(set(bundle.samples.labels or ())) == 5
    assert bundle.manifest.format_version == 2
    plain = export(run, tmp_path / "plain").bundle
    assert (plain.samples, plain.manifest.format_version) == (None, 1)


def test_measure_and_policy_are_those_that_did_best_on_validation(run: Run, tmp_path: Path) -> None:
    exported = export(run, tmp_path / "again")
    written, selection = exported.bundle, exported.selection
    spec = written.manifest.calibration
    assert (spec.confidence, spec.policy) == (selection.chosen.measure, selection.chosen.policy)
    assert selection.images == written.calibration.fit.sum()


def test_nothing_of_the_machine_is_in_the_files(run: Run, bundle: Bundle) -> None:
    for path in bundle.folder.iterdir():
        data = path.read_bytes()
        for folder in (run.folder, Path.home(), Path(module.__file__).parents[2]):
            assert str(folder).encode() not in data, path.name


def test_an_existing_bundle_is_kept_without_force(
    run: Run, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.folder), "--out", str(bundle.folder)]) == 2
    assert "exists already; choose another folder, or replace it with --force" in capsys.readouterr().err


def test_a_run_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--out", str(tmp_path / "new")]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_difference_from_torch_is_an_error_and_writes_nothing(
    run: Run, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = with_weights(run, tmp_path / "run", lambda weights: weights * 1.5)
    segments = [bundle.segment_bytes(index) for index in range(2)]
    monkeypatch.setattr(module, "export_whole", lambda model: None)
    monkeypatch.setattr(trial, "split_at_boundaries", lambda whole, parts: segments)
    with pytest.raises(RunError, match=r"exit \d of the exported model is off by .* nothing was written"):
        export(other, tmp_path / "models" / "digits")
    assert not (tmp_path / "models").exists()


def test_weights_that_are_not_finite_are_not_exported(run: Run, tmp_path: Path) -> None:
    broken = with_weights(run, tmp_path / "run", lambda weights: weights * float("nan"))
    with pytest.raises(RunError, match="NaN or infinity"):
        export(broken, tmp_path / "models" / "digits")
    assert not (tmp_path / "models").exists()


def with_weights(run: Run, folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Run:
    """Copy a run, its floating-point weights changed."""
    folder.mkdir()
    for name in ("config.json", "split.npz"):
        (folder / name).write_bytes((run.folder / name).read_bytes())
    stored = Checkpoint.load(run.checkpoint_path)
    weights = {
        name: change(value) if value.is_floating_point() else value for name, value in stored.model.items()
    }
    replace(stored, model=weights).save(folder / "checkpoint.pt")
    return Run.open(folder)


@pytest.fixture(scope="module")
def int8(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("int8") / "digits"
    few = ["--max-drop", "20", "--calibration-images", "64", "--gather-rows"]
    assert main([str(run.folder), "--out", str(folder), "--precision", "int8", *few]) == 0
    return read_bundle(folder)


def test_int8_states_both_accuracies_and_calibrates_on_its_own_answers(
    run: Run, bundle: Bundle, int8: Bundle
) -> None:
    assert [verdict.detail for verdict in check_bundle(int8.folder) if not verdict.ok] == []
    manifest = int8.manifest
    assert manifest.precision == "int8"
    assert manifest.float_validation_accuracy == pytest.approx(bundle.calibration.accuracy)
    engine, (images, labels) = Engine(int8), next(run.data(batch_size=500).validation())
    probabilities = engine_probabilities(engine, images.numpy())
    right = (probabilities.argmax(-1) == labels.numpy()[:, None]).mean(axis=0)
    assert [segment.validation_accuracy for segment in manifest.segments] == pytest.approx(right)
    np.testing.assert_array_equal(int8.calibration.confidence["max_probability"], probabilities.max(axis=-1))
    assert not np.array_equal(
        int8.calibration.confidence["max_probability"], bundle.calibration.confidence["max_probability"]
    )


def test_int8_features_are_bytes_and_its_files_small(bundle: Bundle, int8: Bundle) -> None:
    assert {spec.dtype for spec in int8.manifest.segments[0].outputs[1:]} == {"uint8"}
    assert [spec.name for spec in int8.manifest.segments[1].inputs][-1] == "rows"
    assert int8.manifest.segments[1].gathers_rows
    for path in int8.folder.iterdir():
        assert str(Path.home()).encode() not in path.read_bytes()


def test_int8_that_loses_too_much_writes_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(self: Bar, answers: Answers) -> list[int]:
        return [0]

    monkeypatch.setattr(Bar, "missed_at", impossible)
    folder = tmp_path / "models" / "digits"
    assert main([str(run.folder), "--out", str(folder), "--precision", "int8"]) == 2
    told = capsys.readouterr()
    assert "looking for the layers that cause it" in told.out
    assert "layers in float: above all segments." in told.err
    assert "Nothing was written" in told.err
    assert not folder.parent.exists()


def test_fp16_is_float16_with_float32_answers(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    assert main([str(run.folder), "--out", str(folder), "--precision", "fp16", "--max-drop", "10"]) == 0
    assert [verdict.detail for verdict in check_bundle(folder) if not verdict.ok] == []
    half = read_bundle(folder)
    assert half.manifest.precision == "float16"
    assert half.manifest.float_validation_accuracy == pytest.approx(bundle.calibration.accuracy)
    assert [spec.dtype for spec in half.manifest.segments[0].outputs][:2] == ["float32", "float16"]
    images = next(run.data().test()).images.numpy()
    np.testing.assert_allclose(
        engine_probabilities(Engine(half), images), engine_probabilities(Engine(bundle), images), atol=0.02
    )


def test_what_a_command_line_gets_wrong(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run.folder), "--out", str(tmp_path / "new"), "--precision", "int4"]) == 2
    assert (
        "--precision: Input should be 'float32', 'float16' or 'int8'; found 'int4'" in capsys.readouterr().err
    )
    assert main([str(run.folder), "--out", str(tmp_path / "new"), "--max-drop", "-1"]) == 2
    assert "--max-drop: Input should be greater than or equal to 0" in capsys.readouterr().err


OWN_NET = """
from pathlib import Path

import torch
from torch import nn

def net(num_classes):
    weights = torch.load(Path(__file__).with_name("weights.pth"), weights_only=True)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
    body.load_state_dict(weights)
    return nn.Sequential(body, nn.Conv2d(8, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8,
    num_classes))
"""


def test_a_network_of_ones_own_is_exported_without_its_code_and_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "own_net_gone_later.py").write_text(OWN_NET)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
    torch.save(body.state_dict(), code / "weights.pth")
    monkeypatch.syspath_prepend(code)
    run = trained(
        tmp_path / "run", model="own_net_gone_later:net", model_option={"exits": "0"}, image_size=8, epochs=1
    )
    with torch.inference_mode():
        images = next(iter(run.data().test())).images
        expected = [logits.softmax(-1).numpy() for logits in run.trainable_model()(images)]
    shutil.rmtree(code)
    monkeypatch.delitem(sys.modules, "own_net_gone_later")

    exported = export(Run.open(run.folder), tmp_path / "bundle")
    served = engine_probabilities(Engine(exported.bundle), images.numpy())

    np.testing.assert_allclose(served, np.stack(expected, axis=1), atol=1e-5)
    assert exported.bundle.manifest.architecture.name == "own_net_gone_later:net"
    with pytest.raises(ConfigError, match="cannot import 'own_net_gone_later'"):
        run.trainable_model()
    run.graph_path.write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"graph.pt: damaged"):
        run.model()
