"""A bundle is calibrated on other images: by class name, through the engine, in one step."""

import json
import os
import re
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from serving.bundle import DataSet, read_bundle, write_bundle
from serving.bundle_check import check_bundle
from serving.capture import reading
from serving.capture.capture import CapturedImage
from serving.capture.store import CaptureStore
from serving.engine.backends.registry import calibrated_for
from serving.engine.engine import Engine
from serving.errors import TermsError
from serving.images.decode import open_still, to_array
from serving.model import Model
from serving.telemetry.logs import get_logger
from tests.bundles import CLASSES, tiny_bundle, tiny_images, tiny_samples
from training.calibrate import main
from training.calibration import recalibrate
from training.calibration.collect import collect, engine_probabilities
from training.calibration.recalibrate import class_indices
from training.calibration.seen import Seen, seen
from training.calibration.tables import compare
from training.data.source import Part, Source, load_source
from training.data.split import counts_fingerprint, make_split
from training.errors import DataError

IMAGES = 10


def folder_of_images(folder: Path, classes: tuple[str, ...], seed: int = 0) -> Path:
    """Write IMAGES random 8x8 images of each class."""
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(tiny_images(IMAGES, seed + place)):
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_calibrating_on_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tiny_bundle(tmp_path / "models" / "tiny")
    some = ("dog", "bee")  # not all classes, and in another order than the bundle's
    images = folder_of_images(tmp_path / "pets", some)
    out = tmp_path / "models" / "pets"
    assert main([str(old.folder), "--dataset", str(images), "--out", str(out)]) == 0
    assert "20 images of pets (all)" in capsys.readouterr().out
    new = read_bundle(out)
    assert [verdict.detail for verdict in check_bundle(out) if not verdict.ok] == []
    # What the calibration says is what the engine says of the same files.
    engine = Engine(new)
    expected = {}
    for name in some:
        files = sorted((images / name).iterdir())
        pixels = np.stack(
            [to_array(open_still(file.read_bytes()), old.manifest.preprocessing) for file in files]
        )
        expected[CLASSES.index(name)] = engine_probabilities(engine, pixels)
    for label, probabilities in expected.items():
        of_class = new.calibration.labels == label
        found = np.sort(new.calibration.confidence["max_probability"][of_class], axis=0)
        np.testing.assert_array_equal(found, np.sort(probabilities.max(-1), axis=0))
    assert set(new.calibration.labels) == expected.keys()
    assert new.manifest.calibration.source == "pets (all)"
    assert new.manifest.data_set == old.manifest.data_set
    for segment, before in zip(new.manifest.segments, old.manifest.segments, strict=True):
        assert segment.sha256 == before.sha256
    assert [s.validation_accuracy for s in new.manifest.segments] == list(new.calibration.accuracy)


def test_without_labels_the_last_exit_is_the_truth_until_labels_are(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, pixels in enumerate(tiny_images(30, 3)):
        Image.fromarray(pixels).save(photos / f"{number}.png")
    assert main([str(folder), "--dataset", str(photos), "--truth", "own"]) == 0
    new = read_bundle(folder)
    assert (new.manifest.truth, new.manifest.calibration.source) == ("own", "photos (all)")
    assert new.calibration.accuracy[-1] == 1
    np.testing.assert_array_equal(new.calibration.labels, new.calibration.prediction[:, -1])
    assert [verdict.detail for verdict in check_bundle(folder) if not verdict.ok] == []
    assert main([str(folder), "--dataset", str(photos), "--truth", "own", "--split", "validation"]) == 2
    labelled = folder_of_images(tmp_path / "images", CLASSES)
    assert main([str(folder), "--dataset", str(labelled)]) == 0
    assert read_bundle(folder).manifest.truth == "labels"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ("onnxruntime", "float32")),
        (("--runtime", "openvino"), ("openvino", "float32")),
        (("--inference-precision", "bf16"), ("openvino", "bfloat16")),
    ],
)
def test_the_arithmetic_is_written_and_the_next_calibration_keeps_to_it(
    tmp_path: Path, words: tuple[str, ...], expected: tuple[str, str]
) -> None:
    openvino_backend = pytest.importorskip("serving.engine.backends.openvino_backend")
    if "bfloat16" in expected and not openvino_backend.computes_bfloat16():
        pytest.skip("this processor has no bfloat16")
    folder = tiny_bundle(tmp_path / "tiny").folder
    images = str(folder_of_images(tmp_path / "images", CLASSES))
    for more in (words, ()):
        assert main([str(folder), "--dataset", images, *more]) == 0
        manifest = read_bundle(folder).manifest
        written = calibrated_for(manifest)
        assert (written.runtime, written.precision) == expected
        assert manifest.format_version == (2 if words else 1)


def test_bfloat16_is_for_bundles_in_float32(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    in_int8 = {"precision": "int8", "float_validation_accuracy": bundle.calibration.accuracy}
    manifest = bundle.manifest.model_copy(update=in_int8)
    segments = [bundle.segment_bytes(index) for index in range(len(manifest.segments))]
    write_bundle(bundle.folder, manifest, segments, bundle.calibration, force=True)
    images = folder_of_images(tmp_path / "images", CLASSES)
    words = [str(bundle.folder), "--dataset", str(images), "--inference-precision", "bf16"]
    assert main(words) == 2
    assert "is stored in int8" in capsys.readouterr().err


def test_in_place(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny", samples=tiny_samples()).folder
    images = folder_of_images(tmp_path / "images", CLASSES)
    assert main([str(folder), "--dataset", str(images), "--split", "test"]) == 0
    new = read_bundle(folder)
    assert new.samples == tiny_samples()
    assert new.manifest.calibration.source == "images (test)"
    assert len(new.calibration.labels) == 8
    assert sorted(os.listdir(tmp_path)) == ["images", "tiny"]  # noqa: PTH208 - dot folders too


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        (("ant", "cow"), "1 of its 2 classes are not the bundle's: cow; the bundle has ant, bee, cat, dog"),
        (("3", "4"), "1 of its 2 classes are not the bundle's: 4;"),
    ],
)
def test_strange_classes_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: tuple[str, ...], text: str
) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    before = (folder / "manifest.json").read_bytes()
    images = folder_of_images(tmp_path / "images", classes)
    assert main([str(folder), "--dataset", str(images)]) == 2
    assert text in capsys.readouterr().err
    assert (folder / "manifest.json").read_bytes() == before


def test_an_existing_bundle_at_out_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    other = tiny_bundle(tmp_path / "other").folder
    words = [str(folder), "--dataset", "digits", "--out", str(other)]
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--dataset", "digits"]) == 2
    assert "manifest.json: is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "classes", "expected"),
    [
        (("cat", "ant"), ("ant", "bee", "cat"), [2, 0]),
        (("0", "2"), ("ant", "bee", "cat"), [0, 2]),
        (("2", "0"), ("2", "1", "0"), [0, 2]),  # numbers that are names are names
    ],
)
def test_names_decide_then_numbers(
    found: tuple[str, ...], classes: tuple[str, ...], expected: list[int]
) -> None:
    assert class_indices("pets", found, classes).tolist() == expected


def test_two_images_are_needed() -> None:
    one = np.full((1, 3, 4), 0.25, np.float32), np.zeros(1, np.int64)
    with pytest.raises(DataError, match="at least 2 images"):
        collect([one])
    answers = collect([one, one])
    assert sorted(answers.certify.tolist()) == [False, True]


def test_the_half_kept_depends_on_the_seed_alone() -> None:
    def halves(seed: int, batch: int) -> list[bool]:
        answers = np.random.default_rng(0).dirichlet(np.ones(4), (12, 2)).astype(np.float32)
        labels = np.arange(12, dtype=np.int64) % 4
        parts = [(answers[i : i + batch], labels[i : i + batch]) for i in range(0, 12, batch)]
        result: list[bool] = collect(parts, seed).certify.tolist()
        return result

    assert halves(0, 12) == halves(0, 5) != halves(1, 12)


def test_the_comparison_is_on_images_that_no_threshold_was_fitted_on(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    for before, after in compare(bundle, bundle):
        assert before.expected_flops == after.expected_flops
        assert json.dumps(before.thresholds.tolist()) == json.dumps(after.thresholds.tolist())
        count = before.shares * bundle.calibration.certify.sum()
        np.testing.assert_allclose(count, count.round())


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle, and the folder of 80 images that its network was trained on, 56 of them."""
    images = folder_of_images(tmp_path / "images", CLASSES)
    for name in CLASSES:
        for number, pixels in enumerate(tiny_images(IMAGES, seed=100 + len(name))):
            Image.fromarray(pixels).save(images / name / f"more-{number}.png")
    source = load_source(str(images))
    split = make_split(source.labels, source.classes, seed=0, validation_share=0.1, train_limit=None)
    data_set = DataSet(
        name=source.name,
        split_seed=0,
        train_images=len(split.train),
        validation_images=len(split.validation),
        validation_share=0.1,
        fingerprint=split.fingerprint,
        counts_fingerprint=counts_fingerprint(source.labels, source.classes),
    )
    tiny = tiny_bundle(tmp_path / "tiny")
    manifest = tiny.manifest.model_copy(update={"data_set": data_set})
    segments = [tiny.segment_bytes(index) for index in range(3)]
    return write_bundle(tmp_path / "own", manifest, segments, tiny.calibration).folder, images


def test_its_own_validation_images_are_found_again(own: tuple[Path, Path]) -> None:
    folder, images = own
    assert main([str(folder), "--dataset", str(images)]) == 0
    new = read_bundle(folder)
    assert new.manifest.calibration.source == "images (validation)"
    assert len(new.calibration.labels) == 8
    assert new.calibration.certify.sum() == 4


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--split", "all"], "trained on 56 of these 80 images"),
        (["--split", "train"], "trained on 56 of these 56 images"),
        (["--split-seed", "1"], r"trained on \d+ of these 8 images"),
        (["--validation-share", "0.3"], "trained on 16 of these 24 images"),
    ],
)
def test_images_that_were_trained_on_are_refused(
    own: tuple[Path, Path], capsys: pytest.CaptureFixture[str], flags: list[str], text: str
) -> None:
    folder, images = own
    before = (folder / "manifest.json").read_bytes()
    assert main([str(folder), "--dataset", str(images), *flags]) == 2
    assert re.search(text, capsys.readouterr().err)
    assert (folder / "manifest.json").read_bytes() == before


def test_taken_by_consent_they_certify_nothing(own: tuple[Path, Path]) -> None:
    folder, images = own
    words = [str(folder), "--dataset", str(images), "--split", "all", "--allow-trained-images"]
    assert main(words) == 0
    assert not read_bundle(folder).calibration.certify.any()
    with Model.load(read_bundle(folder)) as model, pytest.raises(TermsError, match="calibration has none"):
        model.guarantee(0.5)


def test_a_bundle_without_fingerprints_goes_by_the_name(
    own: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, images = own
    facts = json.loads((folder / "manifest.json").read_text())
    for name in ("fingerprint", "counts_fingerprint", "validation_share"):
        del facts["data_set"][name]
    (folder / "manifest.json").write_text(json.dumps(facts))
    assert main([str(folder), "--dataset", str(images), "--split", "all"]) == 2
    assert "trained on 56 of these 80 images" in capsys.readouterr().err
    assert main([str(folder), "--dataset", str(images)]) == 0


def test_the_same_images_in_another_order_are_noticed() -> None:
    labels = np.repeat(np.arange(2), 50).astype(np.int64)
    classes = ("a", "b")
    split = make_split({"train": labels}, classes, seed=0, validation_share=0.1, train_limit=None)
    data_set = DataSet(
        name="hub",
        split_seed=0,
        train_images=len(split.train),
        validation_images=len(split.validation),
        fingerprint=split.fingerprint,
        counts_fingerprint=counts_fingerprint({"train": labels}, classes),
    )

    def found(order: np.ndarray) -> Seen:
        images = datasets.Dataset.from_dict({"image": [0] * len(order)})
        return seen(data_set, Source("local", classes, {"train": Part("local train", images, labels[order])}))

    assert found(np.arange(100)).kinship == "same"
    assert found(np.arange(100)).count([split.validation, split.test]) == 0
    shuffled = found(np.random.default_rng(0).permutation(100))
    assert (shuffled.kinship, shuffled.count([split.validation])) == ("shuffled", 7)
    assert found(np.arange(80)).kinship == "other"


def captured(folder: Path, state: Path, count: int, labels: int) -> Path:
    """Write `count` captured images of a bundle, the first of which have labels."""
    identity = read_bundle(folder).manifest.identity
    store = CaptureStore(state, most_images=10_000, most_bytes=10**9, logger=get_logger())
    for index, pixels in enumerate(tiny_images(count, 5)):
        store.keep(CapturedImage(index / 10_000, identity, "pets", "0-ab-1", index, pixels))
    store.label(identity, [("0-ab-1", index, index % len(CLASSES)) for index in range(labels)])
    store.close()
    return state


@pytest.mark.parametrize(
    ("labels", "words", "truth", "used"),
    [
        (0, (), "own", 40),
        (39, (), "own", 40),
        (39, ("--truth", "labels"), "labels", 39),
        (40, (), "labels", 40),
        (40, ("--truth", "own"), "own", 40),
    ],
)
def test_captured_images_are_held_against_labels_where_there_are_enough(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    labels: int,
    words: tuple[str, ...],
    truth: str,
    used: int,
) -> None:
    monkeypatch.setattr(recalibrate, "ENOUGH_LABELS", 40)
    monkeypatch.setattr(reading, "CHUNK", 16)
    folder = tiny_bundle(tmp_path / "tiny").folder
    state = captured(folder, tmp_path / "state", 40, labels)
    assert main([str(folder), "--from-capture", str(state), *words, "--out", str(tmp_path / "new")]) == 0
    new = read_bundle(tmp_path / "new")
    assert (new.manifest.truth, len(new.calibration.labels)) == (truth, used)
    assert new.manifest.calibration.source == f"captured traffic ({labels} of 40 images labelled)"
    answers = engine_probabilities(Engine(new), tiny_images(40, 5)[:used])
    np.testing.assert_array_equal(new.calibration.prediction, answers.argmax(axis=-1))
    expected = answers[:, -1].argmax(axis=-1) if truth == "own" else np.arange(used) % len(CLASSES)
    np.testing.assert_array_equal(new.calibration.labels, expected)
    assert ("network's own answers" in capsys.readouterr().out) == (truth == "own")
    assert [verdict.detail for verdict in check_bundle(tmp_path / "new") if not verdict.ok] == []


def test_images_captured_for_another_bundle_are_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    state = captured(folder, tmp_path / "state", 10, 0)
    before = (folder / "manifest.json").read_bytes()
    other = tiny_bundle(tmp_path / "other", seed=1).folder
    assert main([str(other), "--from-capture", str(state)]) == 2
    assert "found 10 of 'pets'" in capsys.readouterr().err
    assert main([str(folder), "--from-capture", str(state), "--truth", "labels"]) == 2
    assert "expected labels of 2 captured images or more, found 0 among 10" in capsys.readouterr().err
    assert (folder / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected --dataset or --from-capture, one of them"),
        (("--dataset", "a", "--from-capture", "b"), "expected --dataset or --from-capture, one of them"),
        (("--from-capture", "b", "--split", "all"), "no --split with --from-capture"),
        (("--from-capture", "nowhere"), "nowhere: expected the --state-dir of a server with --capture"),
    ],
)
def test_one_place_of_images_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert main([str(tiny_bundle(tmp_path / "tiny").folder), *words]) == 2
    assert message in capsys.readouterr().err
