from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from serving.bundle import Bundle
from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from serving.errors import OfframpError
from tests.training.adopting.graphs import classifier, saved
from tests.training.adopting.pictures import CLASSES, folder, pictures, quarters
from training import cascade
from training.adopting import cascading, report
from training.adopting.config import AdoptingConfig
from training.adopting.network import probing
from training.calibration.collect import engine_probabilities
from training.errors import AdoptError, ConfigError

Members = tuple[onnx.ModelProto, ...]
SMALL, LARGE = quarters(noise=0.3, work=2), quarters(work=8)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("quarters"))


def built(members: Members, images: Path, place: Path, **options: Any) -> Bundle:
    names = [str(saved(model, place, f"net{number}")) for number, model in enumerate(members)]
    config = AdoptingConfig.model_validate({"dataset": str(images), "normalise": ("0..1",), **options})
    return cascading.build(names, place / "bundle", config).written.bundle


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_every_exit_answers_as_its_network_does(images: Path, tmp_path: Path) -> None:
    bundle = built((SMALL, quarters(noise=0.2, work=4), LARGE), images, tmp_path, samples=4)
    pixels, _ = pictures(16, seed=5)
    found = engine_probabilities(Engine(bundle), pixels)
    planes = (pixels.astype(np.float32) / 255).transpose(0, 3, 1, 2)
    for exit_index, model in enumerate((SMALL, quarters(noise=0.2, work=4), LARGE)):
        expected = softmax(probing.run(model, planes)["logits"])
        np.testing.assert_allclose(found[:, exit_index], expected, atol=1e-5)
    assert all(verdict.ok for verdict in check_bundle(bundle.folder))
    assert bundle.manifest.original_flops == bundle.manifest.segments[-1].body_flops
    assert bundle.manifest.format_version == 2
    assert bundle.manifest.classes == tuple(sorted(CLASSES))
    assert bundle.samples is not None
    assert sorted(bundle.samples.labels or ()) == [0, 1, 2, 3]


def test_layouts_sizes_and_orders_may_differ(images: Path, tmp_path: Path) -> None:
    order = (2, 0, 3, 1)
    (tmp_path / "small.txt").write_text("\n".join(CLASSES))
    (tmp_path / "large.txt").write_text("\n".join(CLASSES[place] for place in order))
    small, large = quarters(layout="NHWC", size=4, work=1), quarters(order=order, work=8)
    files = (str(tmp_path / "small.txt"), str(tmp_path / "large.txt"))
    bundle = built((small, large), images, tmp_path, classes=files)
    names = [CLASSES[place] for place in order]
    assert (bundle.manifest.preprocessing.height, bundle.manifest.classes) == (8, tuple(names))
    assert bundle.calibration.accuracy[0] > 0.9
    assert bundle.calibration.accuracy[1] > 0.9


def test_in_int8_the_images_still_cross_as_they_are(images: Path, tmp_path: Path) -> None:
    bundle = built((SMALL, LARGE), images, tmp_path, precision="int8", max_drop=5.0)
    assert bundle.manifest.segments[0].outputs[1].shape == (None, 8, 8, 3)
    assert all(verdict.ok for verdict in check_bundle(bundle.folder))


@pytest.mark.parametrize("kept", [1, 2])
def test_members_stay_in_float_where_that_is_wanted(kept: int, images: Path, tmp_path: Path) -> None:
    options = {"precision": "int8", "max_drop": 50.0, "float_segments": (kept,)}
    bundle = built((SMALL, LARGE), images, tmp_path, **options)
    quantised = [b"QuantizeLinear" in bundle.segment_bytes(index) for index in range(2)]
    assert quantised == [kept != 1, kept != 2]
    with pytest.raises(OfframpError, match=r"--float-segments 1 2: expected some of segments 1 to 2"):
        built((SMALL, LARGE), images, tmp_path / "bundle", **{**options, "float_segments": (2, 1)})


def test_without_labels_exits_are_held_against_the_full_network(tmp_path: Path) -> None:
    images = folder(tmp_path / "flat", flat=True)
    bundle = built((SMALL, LARGE), images, tmp_path, truth="own", samples=4)
    assert bundle.manifest.truth == "own"
    assert bundle.samples is not None
    assert (len(bundle.samples.images), bundle.samples.labels) == (4, None)
    assert bundle.calibration.accuracy[-1] == 1.0
    assert bundle.manifest.classes == ("0", "1", "2", "3")
    with pytest.raises(OfframpError, match="expected parquet files, or one sub-folder of images per class"):
        built((SMALL, LARGE), images, tmp_path / "bundle", truth="labels")


@pytest.mark.parametrize(
    ("members", "options", "said"),
    [
        ((LARGE, SMALL), {}, "from the cheapest to the dearest; found net0"),
        ((SMALL, classifier(classes=3, channels=16)), {}, "net1 answers with 3 classes, data set"),
        ((SMALL, quarters(order=(3, 2, 1, 0), work=8)), {}, "its classes are in another order"),
        ((SMALL, LARGE), {"normalise": ("0..1", "half", "clip")}, "one for each of 2 networks; found 3"),
        ((SMALL, LARGE), {"normalise": ("sepia",)}, "--normalise sepia: expected imagenet"),
        ((SMALL, LARGE), {"resize": 7}, "--resize 7: expected at least the 8 pixels"),
        ((LARGE,), {}, "at least two networks"),
    ],
)
def test_what_does_not_go_together_is_refused(
    members: Members, options: dict[str, object], said: str, images: Path, tmp_path: Path
) -> None:
    with pytest.raises((AdoptError, ConfigError), match=said):
        built(members, images, tmp_path, **options)
    assert not (tmp_path / "bundle").exists()


def test_other_classes_are_refused_by_name(images: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(sorted(CLASSES)))
    (tmp_path / "b.txt").write_text("up\n" + "\n".join(sorted(CLASSES)[1:]))
    files = (str(tmp_path / "b.txt"), str(tmp_path / "a.txt"))
    with pytest.raises(
        AdoptError, match="net0 has other classes than the last network; not in both: east, up"
    ):
        built((SMALL, LARGE), images, tmp_path, classes=files)


def test_the_way_pixels_are_normalised_is_found_by_the_labels(images: Path, tmp_path: Path) -> None:
    names = [str(saved(model, tmp_path, f"net{number}")) for number, model in enumerate((SMALL, LARGE))]
    told: list[str] = []
    config = AdoptingConfig(dataset=str(images))
    cascading.build(names, tmp_path / "bundle", config, tell=told.append)
    assert any("net1: pixels normalised as" in text for text in told)


def test_the_command_writes_a_bundle_and_says_what_it_buys(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = folder(tmp_path / "test", 40, seed=9)
    nets = [str(saved(model, tmp_path, f"net{number}")) for number, model in enumerate((SMALL, LARGE))]
    more = [
        "--dataset",
        str(images),
        "--test-dataset",
        str(test),
        "--normalise",
        "0..1",
        "--json",
        str(tmp_path / "f"),
    ]
    assert cascade.main([*nets, *more, "--out", str(tmp_path / "bundle")]) == 0
    said = capsys.readouterr().out
    assert "last exit against the original file: 0 of 80 answers differ" in said
    assert "full depth costs" in said
    assert '"changed_answers": 0' in (tmp_path / "f").read_text()
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "Nothing was trained: the networks are used as they were" in card
    with Image.open(tmp_path / "bundle" / "gallery.png") as picture:
        assert picture.width > 400
    assert all(verdict.ok for verdict in check_bundle(tmp_path / "bundle"))


def test_the_same_images_are_not_taken_twice_without_a_word(images: Path, tmp_path: Path) -> None:
    names = [str(saved(model, tmp_path, f"net{number}")) for number, model in enumerate((SMALL, LARGE))]
    told: list[str] = []
    config = AdoptingConfig(dataset=str(images), test_dataset=str(images), normalise=("0..1",))
    cascading.build(names, tmp_path / "bundle", config, tell=told.append)
    assert told[0].startswith("warning: 80 of the test images (100%) are also among those that thresholds")


def test_images_that_were_trained_on_are_told_by_their_accuracy(images: Path, tmp_path: Path) -> None:
    names = [str(saved(model, tmp_path, f"net{number}")) for number, model in enumerate((SMALL, LARGE))]
    done = cascading.build(
        names, tmp_path / "bundle", AdoptingConfig(dataset=str(images), normalise=("0..1",))
    )
    found = report.judge(done)
    assert "promise too much" in report.honesty(done, found)[0]
