"""Layers go over where name and shape are the same; classifiers and the normalisation stay."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.training.small_runs import config, trained
from tests.training.test_recipes import LADDER, NET
from training.errors import ConfigError
from training.fitting.fit import untrained
from training.models.registry import architecture
from training.runs.recipe import recipe_of
from training.runs.run import Run
from training.runs.start import started
from training.setup.transfer import transfer


def test_classifiers_of_other_classes_and_the_normalisation_stay() -> None:
    source = architecture("ladder", NET).model(10, mean=(0.1, 0.2, 0.3))
    model = architecture("ladder", NET).model(7)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    taken = transfer(model, source.state_dict())

    stays = {name for name in before if ".classify." in name or name in ("mean", "std")}
    assert taken == {name for name, _ in model.named_parameters()} - stays
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in stays else source.state_dict()[name]), name


def test_a_shorter_model_takes_what_it_has() -> None:
    source = architecture("ladder", {**NET, "coarse": "1,2"}).model(10)
    model = architecture("ladder", {**NET, "coarse": "1,1"}).model(10)

    assert transfer(model, source.state_dict()) == {name for name, _ in model.named_parameters()}


def test_another_architecture_is_refused() -> None:
    source = architecture("msdnet-tiny").model(10)

    with pytest.raises(ConfigError, match="expected a run of the same architecture"):
        transfer(architecture("ladder", NET).model(10), source.state_dict())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 2 classes with 20 grey images each."""
    for name in ("ant", "bee"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (32, 32), (6 * number,) * 3).save(tmp_path / f"pictures/{name}/{number}.png")
    return tmp_path / "pictures"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "start"
    return trained(folder, **LADDER, whiten=True, method="joint", epochs=1)


def test_a_run_starts_from_another_data_set_and_keeps_its_whitening(
    start: Run, tmp_path: Path, pictures: Path
) -> None:
    own = {"dataset": str(pictures), "train_limit": None, "batch_size": 8, "method": "joint", "epochs": 1}
    run, data = started(tmp_path / "run", config(**LADDER, **own, whiten=True, transfer_from=start.folder))

    first = "segments.0.body.0.layers.0.weight"
    assert torch.equal(untrained(run, data).state_dict()[first], start.model().state_dict()[first])


def test_the_recipe_says_where_from(start: Run, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", **LADDER, method="joint", epochs=1, transfer_from=start.folder)

    first = recipe_of(run)["started_from"]
    assert isinstance(first, dict)
    assert (first["method"], first["transferred_from"], first["whiten"]) == ("joint", "digits", True)


def test_a_start_that_has_seen_the_validation_images_is_refused(start: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--transfer-from .* trained on images that this run validates"):
        started(tmp_path / "run", config(**LADDER, transfer_from=start.folder, split_seed=5))


def test_one_start_is_enough(start: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--init-from .* and --transfer-from .* both say which weights"):
        started(tmp_path / "run", config(**LADDER, init_from=start.folder, transfer_from=start.folder))
