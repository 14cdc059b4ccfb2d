"""A published checkpoint becomes a run, and the run a bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from serving.bundle import read_bundle
from tests.training.converting.public_msdnet import PublicMSDNet
from tests.training.small_runs import config
from training.convert import main
from training.converting.convert import normalisation_of
from training.converting.published import read
from training.errors import ConfigError, RunError
from training.evaluation.config import EvaluateConfig
from training.evaluation.measure import data_of
from training.exporting.export import export
from training.models.registry import architecture
from training.runs.run import Run
from training.runs.start import resumed, started

OPTIONS = ["blocks=2", "base=2", "step=1", "channels=2", "growth=2", "head_channels=8"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, 8 images each to train and 20 each to test."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, images in (("train", 8), ("test", 20)):
        for name in ("ant", "bee"):
            (folder / part / name).mkdir(parents=True)
            for number in range(images):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def public() -> PublicMSDNet:
    torch.manual_seed(0)
    settled = architecture("msdnet", dict(word.split("=") for word in OPTIONS))
    return PublicMSDNet(settled.options, 2)  # type: ignore[arg-type]


def words(checkpoint: Path, pictures: Path, out: Path) -> list[str]:
    named = [str(checkpoint), "--dataset", str(pictures), "--out", str(out)]
    return [*named, "--model-option", *OPTIONS]


@pytest.fixture(scope="module")
def run(pictures: Path, public: PublicMSDNet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("converted")
    stored = {f"module.{name}": tensor for name, tensor in public.state_dict().items()}
    torch.save(
        {"epoch": 299, "arch": "msdnet", "state_dict": stored, "best_prec1": torch.tensor(7.0)},
        folder / "model_best.pth.tar",
    )
    assert main(words(folder / "model_best.pth.tar", pictures, folder / "run")) == 0
    return Run.open(folder / "run")


def test_the_run_has_the_weights_and_says_where_they_are_from(run: Run, public: PublicMSDNet) -> None:
    weights = run.model().state_dict()

    expected = public.state_dict()["classifier.1.linear.weight"]
    assert torch.equal(weights["segments.1.head.classify.weight"], expected)
    assert run.facts.converted is not None
    assert (run.facts.converted["file"], run.facts.converted["epochs"]) == ("model_best.pth.tar", 300)


def test_it_exports_and_is_judged_by_images_it_was_not_calibrated_on(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "bundle")

    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.manifest.method.options["converted_from"] == run.facts.converted
    assert len(bundle.calibration.labels) == 20
    data = data_of(bundle, EvaluateConfig(dataset=run.config.dataset))
    assert np.array_equal(data.split.test.rows, run.data().split.test.rows)
    assert len(data.split.test) == 20


def test_it_starts_other_runs_but_does_not_go_on(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="without its optimiser: start a new run"):
        resumed(run.folder, {})
    kept = {"dataset", "model", "model_option", "validation_from", "validation_share"}
    same = {name: value for name, value in run.config.stored().items() if name in kept}
    begun = config(**{**same, "train_limit": None, "init_from": run.folder, "batch_size": 4})
    started(tmp_path / "run", begun)
    unsafe = begun.model_copy(update={"validation_from": "train"})
    with pytest.raises(ConfigError, match="trained on images that this run validates"):
        started(tmp_path / "other", unsafe)


def test_the_weights_are_there_as_safetensors(run: Run) -> None:
    with safe_open(run.folder / "model.safetensors", "pt") as file:
        assert file.metadata()["architecture.name"] == "msdnet"
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping

    weights = run.model().state_dict()
    assert stored.keys() == weights.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in weights.items())


def test_safetensors(public: PublicMSDNet, tmp_path: Path) -> None:
    save_file(public.state_dict(), tmp_path / "model.safetensors")

    published = read(tmp_path / "model.safetensors")

    assert published.tensors.keys() == public.state_dict().keys()
    assert published.epochs is None


class _Foreign:
    """What weights-only loading does not make."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "expected a checkpoint of torch or safetensors|would have to be run"),
        ({"epoch": 3}, r"expected a state dict \(tensors by name\)"),
        ({"model": _Foreign()}, "found what would have to be run"),
        (None, "expected a checkpoint, found none"),
    ],
)
def test_other_files_are_refused(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)

    with pytest.raises(RunError, match=message):
        read(path)


def test_other_architectures_and_data_without_a_test_part_are_refused(
    run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run.folder.parent / "model_best.pth.tar"
    assert main([*words(checkpoint, pictures, tmp_path / "run")[:5], "--model", "ladder"]) == 2
    assert "expected an MSDNet, found the architecture ladder" in capsys.readouterr().err
    assert main(words(checkpoint, pictures / "train", tmp_path / "run")) == 2
    assert "--validation-from test: expected a data set with a test part" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_normalisation_is_public_codes() -> None:
    assert normalisation_of(None, 100).mean == (0.5071, 0.4867, 0.4408)
    assert normalisation_of(None, 1000).std == (0.229, 0.224, 0.225)
    assert normalisation_of("0.5:0.25", 100).std == (0.25, 0.25, 0.25)
    with pytest.raises(ConfigError, match="expected red first"):
        normalisation_of("bgr:imagenet", 1000)
