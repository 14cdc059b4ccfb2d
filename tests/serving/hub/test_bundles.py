"""Bundles to the Hub and back, by a stand-in for it on the loopback."""

from pathlib import Path

import pytest

from offramp.__main__ import main
from serving.bundle import Bundle, read_bundle
from serving.bundle.files import links_root
from serving.errors import HubError
from serving.hub.bundles import bundle_snapshot, open_bundle
from serving.hub.names import HubName
from serving.hub.upload import push
from tests.bundles import tiny_bundle
from tests.serving.hub.stand_in import StandIn

PETS = "models/ada/pets"
# Of the library's own calls, when it uploads.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made = tiny_bundle(tmp_path / "made" / "pets")
    (made.folder / "notes.txt").write_text("not for others")
    return made


def files_of(bundle: Bundle) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.folder.iterdir() if path.name != "notes.txt"}


def test_a_bundle_goes_to_the_hub_and_back(hub: StandIn, bundle: Bundle, tmp_path: Path) -> None:
    (bundle.folder / "README.md").write_text("# pets\n")
    assert main(["push", str(bundle.folder), "ada/pets", "--private"]) == 0
    there = hub.repositories[PETS]["main"]
    assert there.keys() == files_of(bundle).keys()
    assert there["README.md"].startswith(b"---\n")
    assert there["README.md"].endswith(b"\n# pets\n")

    assert main(["pull", "ada/pets", "--out", str(tmp_path / "pulled")]) == 0

    pulled = read_bundle(tmp_path / "pulled")
    assert pulled.files() == bundle.files()
    assert not any(path.is_symlink() for path in pulled.folder.iterdir())


def test_pushing_again_removes_files_of_the_bundle_before_and_no_others(hub: StandIn, bundle: Bundle) -> None:
    hub.put(PETS, {"manifest.json": b"{}", "segment_9.onnx": b"old", "notes.md": b"mine"})
    push(bundle, HubName("ada/pets"), message="again")
    there = hub.repositories[PETS]["main"]
    assert there.keys() == {*files_of(bundle), "README.md", "notes.md"}
    assert there["manifest.json"] == bundle.files()["manifest.json"]


def test_a_branch_is_made_and_the_main_one_stays(hub: StandIn, bundle: Bundle) -> None:
    hub.put(PETS, {"notes.md": b"mine"})
    push(bundle, HubName("ada/pets", "v2"), message="a branch")
    assert hub.repositories[PETS]["main"].keys() == {"notes.md"}
    assert open_bundle("hf://ada/pets@v2").name == "pets"


def test_only_bundles_are_downloaded_and_the_cache_answers_where_there_is_no_network(
    hub: StandIn, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(PETS, {**files_of(bundle), "weights.bin": b"x" * 5000, "other/graph.onnx": b"x"})
    folder = bundle_snapshot(HubName("ada/pets"))
    assert {path.name for path in folder.iterdir()} == files_of(bundle).keys()
    assert (folder / "manifest.json").is_symlink()
    assert links_root(folder).name == "models--ada--pets"
    asked = len(hub.requests)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert open_bundle("hf://ada/pets").files() == bundle.files()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert open_bundle("hf://ada/pets@main").name == "pets"
    assert len(hub.requests) == asked


def test_a_repository_may_hold_several_bundles(hub: StandIn, bundle: Bundle, tmp_path: Path) -> None:
    files = files_of(bundle)
    hub.put(PETS, {f"{name}/{file}": data for name in ("cats", "dogs") for file, data in files.items()})
    with pytest.raises(HubError, match="expected one bundle in it, found cats, dogs"):
        open_bundle("hf://ada/pets")
    assert main(["pull", "hf://ada/pets", "--out", str(tmp_path / "pulled")]) == 0
    assert read_bundle(tmp_path / "pulled" / "dogs").name == "dogs"


def test_a_damaged_file_is_refused_and_nothing_is_half_written(
    hub: StandIn, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put(PETS, {**files_of(bundle), "segment_2.onnx": b"other"})
    assert main(["pull", "ada/pets", "--out", str(tmp_path / "pulled")]) == 2
    assert "segment_2.onnx: expected SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("ada/none", "hf://ada/none: no such repository, or a private one"),
        ("ada/pets@v9", "hf://ada/pets@v9: the repository has no revision 'v9'"),
        ("ada/words", "hf://ada/words: no bundle in it: expected a manifest.json, found config.json"),
        ("ada", "expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION, found 'ada'"),
        ("hf://datasets/ada/x", "expected a repository of a model, found one of a data set"),
    ],
)
def test_refusals_are_by_name(
    hub: StandIn, bundle: Bundle, named: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put(PETS, files_of(bundle))
    hub.put("models/ada/words", {"config.json": b"{}"})
    assert main(["pull", named, "--out", str(tmp_path / "pulled")]) == 2
    assert said in capsys.readouterr().err


def test_a_repository_that_is_too_large_is_refused_before_a_download(hub: StandIn, bundle: Bundle) -> None:
    hub.put(PETS, files_of(bundle))
    with pytest.raises(HubError, match="bytes, more than the 1,000 of --max-download"):
        bundle_snapshot(HubName("ada/pets"), 1000)
    assert not [asked for asked in hub.requests if "/resolve/" in asked]


def test_a_hub_that_is_ill_is_no_traceback(hub: StandIn, bundle: Bundle) -> None:
    hub.put(PETS, files_of(bundle))
    hub.failing = 503
    with pytest.raises(HubError, match="not in the local cache of the Hub, and the Hub answered 503"):
        bundle_snapshot(HubName("ada/pets"))
    with pytest.raises(HubError, match="nothing was pushed"):
        push(bundle, HubName("ada/pets"), message="no")


def test_without_a_token_nothing_is_pushed_and_the_variable_is_named(
    hub: StandIn, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(HubError, match="HF_TOKEN"):
        push(bundle, HubName("ada/pets"), message="no")
    assert hub.repositories == {}


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.hub.library.find_spec", lambda name: None)
    with pytest.raises(HubError, match=r"pip install 'offramp\[hub\]'"):
        bundle_snapshot(HubName("ada/pets"))
