"""Bundles are read whole or refused by name."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.bundle import Manifest, bundle_folders, read_bundle, write_bundle
from serving.bundle.files import links_root
from serving.bundle.samples import MAX_BYTES
from serving.errors import BundleError
from tests.bundles import (
    CLASSES,
    EXIT_FLOPS,
    tiny_bundle,
    tiny_calibration,
    tiny_manifest,
    tiny_samples,
    tiny_segments,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "tiny").folder


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def put(folder: Path, file: str, data: bytes) -> None:
    """Replace a file and its checksum, so that what is inside is what is judged."""

    def seal(manifest: dict[str, Any]) -> None:
        for spec in (*manifest["segments"], manifest["calibration"], manifest.get("samples")):
            if spec and spec["file"] == file:
                spec["sha256"] = hashlib.sha256(data).hexdigest()

    (folder / file).write_bytes(data)
    edit_manifest(folder, seal)


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        read_bundle(folder)
    return str(caught.value)


@pytest.mark.parametrize("rows", [False, True])
def test_what_is_written_is_read(tmp_path: Path, rows: bool) -> None:
    written = tiny_bundle(tmp_path / "tiny", rows=rows)
    bundle = read_bundle(tmp_path / "tiny")
    assert bundle.manifest == written.manifest
    assert bundle.name == "tiny"
    assert bundle.manifest.exit_flops == EXIT_FLOPS
    assert bundle.manifest.classes == CLASSES
    assert bundle.manifest.segments[1].gathers_rows is rows
    assert [bundle.segment_bytes(index) for index in range(3)] == tiny_segments(rows)
    assert bundle.segment_path(2) == tmp_path / "tiny" / "segment_3.onnx"
    assert bundle.calibration.accuracy == tiny_calibration().accuracy
    assert os.listdir(tmp_path) == ["tiny"]  # noqa: PTH208 - dot folders too


def test_the_same_bundle_has_the_same_bytes(tmp_path: Path) -> None:
    one, other = tiny_bundle(tmp_path / "one"), tiny_bundle(tmp_path / "other")
    for path in one.folder.iterdir():
        assert path.read_bytes() == (other.folder / path.name).read_bytes(), path.name


@pytest.mark.parametrize("file", ["manifest.json", "segment_2.onnx", "calibration.npz"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert refusal(folder).startswith(f"bundle 'tiny': {file}: is missing")


@pytest.mark.parametrize("file", ["segment_2.onnx", "calibration.npz"])
def test_a_changed_file_is_named(folder: Path, file: str) -> None:
    with (folder / file).open("ab") as opened:
        opened.write(b"!")
    assert refusal(folder).startswith(f"bundle 'tiny': {file}: expected SHA-256")


FILES = ("manifest.json", "segment_1.onnx", "segment_2.onnx", "segment_3.onnx", "calibration.npz")


@pytest.mark.parametrize("file", FILES)
def test_a_link_that_leads_out_of_the_models_is_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, file: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / file
    (folder / file).rename(elsewhere)
    (folder / file).symlink_to(elsewhere)
    assert f"{file}: is a link that leads out of" in refusal(folder)
    with pytest.raises(BundleError, match="leads out of"):
        read_bundle(folder, folder)
    assert read_bundle(folder, elsewhere.parent).segment_bytes(1) == tiny_segments()[1]


@pytest.mark.parametrize("file", FILES)
def test_a_link_within_the_models_and_a_hard_link_are_files_like_others(
    folder: Path, tmp_path: Path, file: str
) -> None:
    (tmp_path / "..store").mkdir()
    elsewhere = tmp_path / "..store" / "blob"
    (folder / file).rename(elsewhere)
    (folder / file).symlink_to(elsewhere)
    assert read_bundle(folder).segment_bytes(1) == tiny_segments()[1]
    (folder / file).unlink()
    (folder / file).hardlink_to(elsewhere)
    assert read_bundle(folder).segment_bytes(1) == tiny_segments()[1]


def test_a_link_in_a_circle_is_a_clear_error(folder: Path) -> None:
    (folder / "segment_1.onnx").unlink()
    (folder / "segment_1.onnx").symlink_to(folder / "segment_1.onnx")
    assert "segment_1.onnx: cannot be opened" in refusal(folder)


def test_a_cache_of_the_hub_is_read_where_it_is(folder: Path, tmp_path: Path) -> None:
    """Blobs lie beside the snapshots; a folder of models may link to a snapshot."""
    repository = tmp_path / "hub" / "models--owner--tiny"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(FILES):
        (folder / file).rename(blobs / str(number))
        (snapshot / file).symlink_to(Path("../../blobs") / str(number))
    assert read_bundle(snapshot).name == "0123abcd"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "pets").symlink_to(snapshot)
    assert bundle_folders(tmp_path / "models") == [tmp_path / "models" / "pets"]
    assert read_bundle(tmp_path / "models" / "pets", links_root(tmp_path / "models")).name == "pets"
    (snapshot / "manifest.json").unlink()
    (snapshot / "manifest.json").symlink_to(tmp_path / "hub" / "other.json")
    (blobs / "0").rename(tmp_path / "hub" / "other.json")
    assert "leads out of" in refusal(snapshot)


def test_a_volume_of_kubernetes_is_read_through_its_links(folder: Path, tmp_path: Path) -> None:
    """Everything visible is a link through `..data` into a folder that is named after a moment."""
    volume, version = tmp_path / "volume", tmp_path / "volume" / "..2026_11_25"
    version.mkdir(parents=True)
    folder.rename(version / "tiny")
    (volume / "..data").symlink_to("..2026_11_25")
    (volume / "tiny").symlink_to("..data/tiny")
    (found,) = bundle_folders(volume)
    assert read_bundle(found).name == "tiny"
    single = tmp_path / "single"
    single.mkdir()
    (version / "tiny").rename(single / "..2026_11_25")
    (single / "..data").symlink_to("..2026_11_25")
    for file in FILES:
        (single / file).symlink_to(f"..data/{file}")
    assert bundle_folders(single) == [single]
    assert read_bundle(single).name == "single"


def test_a_pipe_is_refused_without_waiting_for_a_writer(folder: Path) -> None:
    (folder / "segment_1.onnx").unlink()
    os.mkfifo(folder / "segment_1.onnx")
    assert "segment_1.onnx: is not a regular file" in refusal(folder)


@pytest.mark.parametrize("name", ["../other.onnx", "/etc/passwd", "a/b.onnx", "..", ".hidden", "a\\b", ""])
def test_file_names_stay_in_the_folder(folder: Path, name: str) -> None:
    edit_manifest(folder, lambda manifest: manifest["segments"][0].update(file=name))
    assert "manifest.json: segments.0.file" in refusal(folder)
    edit_manifest(folder, lambda manifest: manifest["segments"][0].update(file="segment_1.onnx"))
    edit_manifest(folder, lambda manifest: manifest["calibration"].update(file=name))
    assert "manifest.json: calibration.file" in refusal(folder)


@pytest.mark.parametrize("version", [0, 3, "1", None, [1], 1.5])
def test_an_unknown_version_is_refused_before_all_else(folder: Path, version: object) -> None:
    (folder / "manifest.json").write_text(json.dumps({"format_version": version, "of the future": True}))
    assert f"expected format_version 1 or 2; found {version!r}" in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00\x01", "[" * 100_000])
def test_a_manifest_that_is_no_manifest(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    assert "bundle 'tiny': manifest.json: " in refusal(folder)


def _drop(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest.pop(key)


def _segment(index: int, **values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["segments"][index].update(values)


def _fix_batch(manifest: dict[str, Any]) -> None:
    for spec in (manifest["segments"][0]["outputs"][1], manifest["segments"][1]["inputs"][0]):
        spec["shape"] = [4, 48]


BROKEN_MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "field missing": (_drop("classes"), "classes: Field required"),
    "unknown field": (lambda m: m.update(colour="red"), "colour: Extra inputs are not permitted"),
    "no chain": (
        lambda m: m["segments"][1]["inputs"][0].update(name="other"),
        "the inputs of segment 2; found outputs pixels_1: float32 [N, 48]",
    ),
    "chain of other shapes": (
        lambda m: m["segments"][1]["inputs"][0].update(shape=[None, 47]),
        "inputs pixels_1: float32 [N, 47]",
    ),
    "order of features": (lambda m: m["segments"][1]["inputs"].reverse(), "must be the inputs of segment 2"),
    "image size": (lambda m: m["preprocessing"].update(height=9), "segment 1 must take one input, uint8"),
    "class missing": (lambda m: m["classes"].pop(), "must be probabilities, float32 [N, 3] for 3 classes"),
    "class twice": (lambda m: m.update(classes=["a", "b", "b", "c"]), "class names must differ"),
    "free": (_segment(1, body_flops=0, head_flops=0), "segment 2 must cost more than 0 FLOPs"),
    "negative": (_segment(1, body_flops=-1), "segments.1.body_flops"),
    "percent": (_segment(1, validation_accuracy=97.5), "segments.1.validation_accuracy"),
    "no segments": (lambda m: m.update(segments=[]), "segments"),
    "segment missing": (lambda m: m["segments"].pop(), "the last segment must put out probabilities only"),
    "fixed batch": (_fix_batch, "every tensor of segment 1 needs null (the batch) as its first dimension"),
    "int8 without a standard": (lambda m: m.update(precision="int8"), "float_validation_accuracy"),
    "too many standards": (
        lambda m: m.update(float_validation_accuracy=[0.5]),
        "one value for each of the 3 segments",
    ),
    "policy": (
        lambda m: m["calibration"].update(policy={"name": "luck"}),
        "manifest.json: expected a policy out of ['geometric', 'searched']; found 'luck'",
    ),
    "policy options": (
        lambda m: m["calibration"].update(policy={"name": "searched", "options": {"stiffness": -1}}),
        "manifest.json: the options of the policy 'searched' cannot be used: stiffness: Input should be "
        "greater than 0",
    ),
    "confidence": (
        lambda m: m["calibration"].update(confidence="hunch"),
        "manifest.json: expected a confidence out of ['entropy', 'entropy+temperature', 'margin', "
        "'margin+temperature', 'max_probability', 'max_probability+temperature']; found 'hunch'",
    ),
    "number as text": (_segment(0, head_flops="100"), "segments.0.head_flops"),
}


@pytest.mark.parametrize("case", BROKEN_MANIFESTS)
def test_a_broken_manifest_says_where(folder: Path, case: str) -> None:
    change, text = BROKEN_MANIFESTS[case]
    edit_manifest(folder, change)
    message = refusal(folder)
    assert message.startswith("bundle 'tiny': ")
    assert text in message


def test_segments_are_held_to_the_manifest(folder: Path) -> None:
    put(folder, "segment_2.onnx", tiny_segments()[2])
    assert "segment_2.onnx: its inputs are ['pixels_2', 'state_2']" in refusal(folder)


@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"not a model", bytes(range(256))])
def test_bytes_that_are_no_model(folder: Path, data: bytes) -> None:
    put(folder, "segment_1.onnx", data)
    assert "bundle 'tiny': segment_1.onnx: not an ONNX model" in refusal(folder)


def test_a_segment_that_changes_after_reading_is_not_run(folder: Path) -> None:
    bundle = read_bundle(folder)
    (folder / "segment_1.onnx").write_bytes(tiny_segments(seed=1)[0])
    with pytest.raises(BundleError, match=r"segment_1\.onnx: expected SHA-256"):
        bundle.segment_bytes(0)


@pytest.mark.parametrize("made", ["nothing", "a file"])
def test_no_folder_no_bundle(tmp_path: Path, made: str) -> None:
    path = tmp_path / "tiny"
    if made == "a file":
        path.touch()
    assert f"expected a folder that holds manifest.json; found {made}" in refusal(path)


def test_bundles_are_listed_without_drafts(tmp_path: Path, folder: Path) -> None:
    tiny_bundle(tmp_path / "another")
    tiny_bundle(tmp_path / "draft").folder.rename(tmp_path / ".draft")
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").touch()
    assert [path.name for path in bundle_folders(tmp_path)] == ["another", "tiny"]
    (tmp_path / "headless").mkdir()
    (tmp_path / "headless" / "segment_1.onnx").touch()  # to be refused by name, not passed over
    assert [path.name for path in bundle_folders(tmp_path)] == ["another", "headless", "tiny"]
    assert bundle_folders(folder) == [folder]
    with pytest.raises(BundleError, match="no folder of models"):
        bundle_folders(tmp_path / "nowhere")


def test_only_force_replaces_a_bundle(folder: Path) -> None:
    before = (folder / "segment_1.onnx").read_bytes()
    with pytest.raises(BundleError, match=r"exists already.*--force"):
        tiny_bundle(folder, seed=1)
    assert (folder / "segment_1.onnx").read_bytes() == before
    tiny_bundle(folder, seed=1, force=True)
    assert (read_bundle(folder).segment_path(0)).read_bytes() == tiny_segments(seed=1)[0] != before


def test_force_spares_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter_1.tex").touch()
    with pytest.raises(BundleError, match="is no bundle"):
        tiny_bundle(tmp_path / "thesis", force=True)
    assert (tmp_path / "thesis" / "chapter_1.tex").exists()


def test_names_with_a_dot_would_never_load(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="may not start with a dot"):
        tiny_bundle(tmp_path / ".tiny")


def test_a_failed_check_leaves_everything_as_it_was(tmp_path: Path, folder: Path) -> None:
    def refuse(written: Path) -> None:
        assert read_bundle(written).segment_bytes(0) == tiny_segments(seed=1)[0]
        raise BundleError("not good enough")

    for target, force in ((folder, True), (tmp_path / "new", False)):
        with pytest.raises(BundleError, match="not good enough"):
            write_bundle(
                target, tiny_manifest(), tiny_segments(seed=1), tiny_calibration(), force=force, verify=refuse
            )
    assert os.listdir(tmp_path) == ["tiny"]  # noqa: PTH208 - dot folders too
    assert read_bundle(folder).segment_bytes(0) == tiny_segments()[0]


def test_what_does_not_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"segment_1.onnx: its inputs are"):
        write_bundle(tmp_path / "tiny", tiny_manifest(), tiny_segments()[::-1], tiny_calibration())
    assert not any(tmp_path.iterdir())


def test_the_documented_manifest_is_valid() -> None:
    text = (Path(__file__).parents[3] / "docs" / "bundle.md").read_text()
    example = text.partition("```json\n")[2].partition("```")[0]
    manifest = Manifest.model_validate_json(example, strict=True)
    assert manifest.exit_flops == (3138, 3460)
    assert json.loads(manifest.model_dump_json(exclude_unset=True)) == json.loads(example)


def test_keys_of_format_2_are_written_only_where_they_are_used(tmp_path: Path) -> None:
    draft = tiny_manifest()
    written = write_bundle(tmp_path / "one", draft, tiny_segments(), tiny_calibration())
    assert "truth" not in (tmp_path / "one" / "manifest.json").read_text()
    assert (written.manifest.format_version, written.manifest.truth) == (1, "labels")
    own = draft.calibration.model_copy(update={"truth": "own"})
    newer = draft.model_copy(update={"calibration": own, "original_flops": 5_000})
    write_bundle(tmp_path / "two", newer, tiny_segments(), tiny_calibration())
    found = read_bundle(tmp_path / "two").manifest
    assert (found.format_version, found.truth, found.original_flops) == (2, "own", 5_000)


def test_a_key_of_format_2_in_format_1_is_refused(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest.update(original_flops=7_000))
    said = refusal(folder)
    assert "no truth, arithmetic, samples, original_flops, licence or decode: write 2" in said


def test_scaled_decoding_makes_a_bundle_of_format_2_that_servers_before_refuse(tmp_path: Path) -> None:
    draft = tiny_manifest()
    write_bundle(tmp_path / "one", draft, tiny_segments(), tiny_calibration())
    assert "decode" not in (tmp_path / "one" / "manifest.json").read_text()
    scaled = draft.preprocessing.model_copy(update={"decode": "scaled"})
    newer = draft.model_copy(update={"preprocessing": scaled})
    write_bundle(tmp_path / "two", newer, tiny_segments(), tiny_calibration())
    found = read_bundle(tmp_path / "two").manifest
    assert (found.format_version, found.preprocessing) == (2, scaled)


def test_samples_are_read_back_and_make_the_bundle_one_of_format_2(tmp_path: Path) -> None:
    samples = tiny_samples()
    written = tiny_bundle(tmp_path / "tiny", samples=samples)
    found = read_bundle(tmp_path / "tiny")
    assert found.samples == written.samples == samples
    assert found.manifest.format_version == 2
    (tmp_path / "tiny" / "samples.npz").unlink()
    assert refusal(tmp_path / "tiny").startswith("bundle 'tiny': samples.npz: is missing")


def test_a_draft_that_names_samples_gets_none_without_them(tmp_path: Path) -> None:
    draft = tiny_bundle(tmp_path / "one", samples=tiny_samples()).manifest
    written = write_bundle(tmp_path / "two", draft, tiny_segments(), tiny_calibration())
    assert (written.manifest.samples, written.manifest.format_version) == (None, 1)


def test_samples_are_checked_as_every_file_is(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny", samples=tiny_samples()).folder
    whole = (folder / "samples.npz").read_bytes()
    (folder / "samples.npz").write_bytes(whole + b"!")
    assert "samples.npz: expected SHA-256" in refusal(folder)
    put(folder, "samples.npz", whole[:200])
    assert "samples.npz: not a readable npz file" in refusal(folder)
    put(folder, "samples.npz", bytes(MAX_BYTES + 1))
    assert "samples.npz: has 524289 bytes, more than the 524288 expected at most" in refusal(folder)
