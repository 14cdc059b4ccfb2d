"""Models by names of their own, beside those of a folder; links of caches and volumes."""

from pathlib import Path

import pytest
import structlog

from serving.bundle import read_bundle
from serving.errors import BundleError
from serving.repository.loading import models_places
from serving.repository.places import Place, Places
from serving.settings import Settings
from tests.bundles import tiny_bundle
from tests.serving.hub.stand_in import StandIn
from tests.serving.repository.fakes import write


def places_of(**settings: object) -> Places:
    return models_places(Settings.model_validate(settings), structlog.get_logger())


def test_a_named_model_stands_beside_those_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "models" / "cats")
    write(tmp_path / "mounted")
    write(tmp_path / "versions" / "3")
    named = (f"pets={tmp_path / 'mounted'}", f"birds={tmp_path / 'versions'}")
    found = places_of(models=tmp_path / "models", model=named).models()
    assert list(found) == ["pets", "birds", "cats"]
    assert (found["birds"].versioned, list(found["birds"].versions)) == (True, ["3"])
    assert list(places_of(model=named).models()) == ["pets", "birds"]
    assert list(places_of(model=named, models=tmp_path / "none").models()) == ["pets", "birds"]


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "models" / "pets")
    write(tmp_path / "mounted")
    places = places_of(models=tmp_path / "models", model=(f"pets={tmp_path / 'mounted'}",))
    with pytest.raises(BundleError, match=r"two models are called 'pets'.*--model NAME=FOLDER"):
        places.models()


@pytest.mark.parametrize("place", ["nothing", "several"])
def test_a_folder_that_is_no_single_model_is_refused_by_name(tmp_path: Path, place: str) -> None:
    write(tmp_path / "several" / "a")
    write(tmp_path / "several" / "b")
    with pytest.raises(BundleError, match="--model pets: expected a bundle, or a folder of its versions"):
        places_of(model=(f"pets={tmp_path / place}",))


def test_a_repository_of_the_hub_is_a_model_by_its_name(hub: StandIn, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "made")
    files = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
    hub.put("models/ada/pets", files)
    hub.put("models/ada/zoo", {f"{name}/{file}": data for name in ("b", "a") for file, data in files.items()})
    places = places_of(models="hf://ada/zoo", model=("dogs=hf://ada/pets@main",))
    found = places.models()
    assert list(found) == ["dogs", "a", "b"]
    assert list(places_of(models="hf://ada/pets").models()) == ["pets"]
    folder = found["dogs"].versions["1"]
    assert places.links_below(folder).name == "models--ada--pets"
    assert read_bundle(folder, places.links_below(folder), "dogs").name == "dogs"


def test_links_of_a_volume_may_end_anywhere_below_its_parent(tmp_path: Path) -> None:
    made = tiny_bundle(tmp_path / "volume" / "..2026" / "pets").folder
    (tmp_path / "volume" / "pets").mkdir()
    for file in made.iterdir():
        (tmp_path / "volume" / "pets" / file.name).symlink_to(Path("..") / "..2026" / "pets" / file.name)
    places = Places(Place.of(tmp_path / "volume"))
    (model,) = places.models().values()
    assert read_bundle(model.versions["1"], places.links_below(model.versions["1"])).name == "pets"
