import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from serving.bundle import Bundle, read_bundle
from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from serving.errors import OfframpError
from tests.training.adopting.graphs import classifier, quantised, saved
from tests.training.adopting.pictures import folder, pictures, quarters
from training import adopt
from training.adopting import adoption, report
from training.adopting.assembling import Assembled
from training.adopting.choosing import best_subset, chosen_cuts
from training.adopting.config import AdoptConfig
from training.adopting.heads import _loss
from training.adopting.images import open_images
from training.adopting.network import probing
from training.adopting.network.network import read_network
from training.adopting.network.paths import cuts
from training.adopting.segment_times import segment_times
from training.calibration.collect import engine_probabilities
from training.errors import AdoptError, ConfigError
from training.models.flops import SegmentFlops

NET = quarters(work=8, depth=3)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("quarters"), 120, flat=True)


def adopted(
    images: Path, place: Path, net: onnx.ModelProto = NET, **options: object
) -> tuple[Bundle, list[tuple[str, int, int]]]:
    place.mkdir(exist_ok=True)
    file = saved(net, place)
    values = {"dataset": str(images), "truth": "own", "normalise": ("0..1",), "epochs": 2, **options}
    shown: list[tuple[str, int, int]] = []
    config = AdoptConfig.model_validate(values)
    done = adoption.build(str(file), place / "bundle", config, show=lambda *step: shown.append(step))
    assert done.last.changed == 0
    return done.written.bundle, shown


@pytest.mark.parametrize("head", ["conv", "mlp", "linear"])
def test_the_last_exit_is_the_network_and_the_others_have_heads(
    head: str, images: Path, tmp_path: Path
) -> None:
    bundle, shown = adopted(images, tmp_path, exits="r1,r2", head=head, head_share=0.1)
    pixels, _ = pictures(7, seed=3)
    found = engine_probabilities(Engine(bundle), pixels)
    logits = probing.run(NET, (pixels / 255).transpose(0, 3, 1, 2).astype(np.float32))
    powers = np.exp(logits["logits"])
    np.testing.assert_allclose(found[:, -1], powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    assert len(bundle.manifest.segments) == 3
    assert all(verdict.ok for verdict in check_bundle(bundle.folder))
    costs = bundle.manifest.segments
    assert sum(part.body_flops for part in costs) == bundle.manifest.original_flops
    assert all(part.head_flops for part in costs[:-1])
    assert shown[0][0] == "features"
    assert not (tmp_path / ".bundle.adopting").exists()


@pytest.mark.parametrize("kind", ["channels last", "quantised"])
def test_other_kinds_of_files_go_the_whole_way(kind: str, images: Path, tmp_path: Path) -> None:
    last = kind == "channels last"
    net = quarters(work=8, depth=3, layout="NHWC") if last else quantised(NET)
    precision = "int8" if last else "float32"
    bundle, _ = adopted(
        images, tmp_path, net=net, exits="30%,70%", head_share=0.1, precision=precision, max_drop=50.0
    )
    pixels, _ = pictures(7, seed=3)
    planes = (pixels / 255).astype(np.float32)
    logits = probing.run(net, planes if last else planes.transpose(0, 3, 1, 2))["logits"]
    found = engine_probabilities(Engine(bundle), pixels)
    np.testing.assert_array_equal(found[:, -1].argmax(-1), logits.argmax(-1))
    assert all(verdict.ok for verdict in check_bundle(bundle.folder))


def test_224_pixels_go_the_whole_way_in_int8(tmp_path: Path) -> None:
    held, rng = tmp_path / "held", np.random.default_rng(0)
    held.mkdir()
    for number in range(24):
        pixels = np.broadcast_to(rng.integers(0, 256, (1, 1, 3)), (240, 320, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(held / f"{number:02}.jpg")
    net = classifier(size=224, channels=8)
    bundle, _ = adopted(
        held, tmp_path, net=net, exits="r1", head_share=0.1, precision="int8", max_drop=100.0, epochs=1
    )
    spec = bundle.manifest.preprocessing
    assert (spec.height, spec.width, spec.resize) == (224, 224, 256)
    assert bundle.manifest.segments[0].outputs[1].dtype == "uint8"
    images = rng.integers(0, 256, (4, 1, 1, 3), dtype=np.uint8) + np.zeros((1, 224, 224, 1), np.uint8)
    logits = probing.run(net, (images / 255).transpose(0, 3, 1, 2).astype(np.float32))["logits"]
    powers = np.exp(logits)
    served = engine_probabilities(Engine(bundle), images)
    np.testing.assert_allclose(served[:, -1], powers / powers.sum(axis=1, keepdims=True), atol=0.02)


def test_a_quantised_file_is_not_quantised_again(images: Path, tmp_path: Path) -> None:
    with pytest.raises(AdoptError, match=r"already quantised \(QDQ\): leave --precision int8 out"):
        adopted(images, tmp_path, net=quantised(NET), precision="int8")


def test_images_of_something_else_are_told(tmp_path: Path) -> None:
    folder_ = tmp_path / "grey"
    folder_.mkdir()
    for number in range(120):
        pixels = np.full((8, 8, 3), 60 + number, np.uint8)
        pixels[:4, :4] += 1
        Image.fromarray(pixels).save(folder_ / f"{number}.png")
    net = saved(NET, tmp_path)
    config = AdoptConfig(dataset=str(folder_), truth="own", normalise=("0..1",), epochs=1, exits="r2")
    done = adoption.build(str(net), tmp_path / "bundle", config)
    said = " ".join(report.sentences(done, report.judge(done)))
    assert "warning: the network answers 0 for 100% of" in said


def test_features_that_do_not_fit_are_computed_again_with_the_same_result(
    images: Path, tmp_path: Path
) -> None:
    whole, _ = adopted(images, tmp_path / "a", exits="r1")
    streamed, _ = adopted(images, tmp_path / "b", exits="r1", cache_gb=1e-9)
    assert whole.segment_bytes(0) == streamed.segment_bytes(0)


def test_an_interrupted_adoption_goes_on_where_it_was(images: Path, tmp_path: Path) -> None:
    net = saved(NET, tmp_path)
    config = AdoptConfig(dataset=str(images), truth="own", normalise=("0..1",), epochs=1, exits="r1,r2")

    class StoppedError(Exception):
        pass

    def stop(step: str, done: int, of: int) -> None:
        if step.startswith("head 2"):
            raise StoppedError

    with pytest.raises(StoppedError):
        adoption.build(str(net), tmp_path / "bundle", config, show=stop)
    shown: list[str] = []
    adoption.build(str(net), tmp_path / "bundle", config, show=lambda step, done, of: shown.append(step))
    assert not any(step.startswith(("features", "head 1")) for step in shown)
    assert any(step.startswith("head 2") for step in shown)


def test_exits_that_do_not_pay_are_refused_with_their_numbers(images: Path, tmp_path: Path) -> None:
    net = saved(NET, tmp_path)  # heads that average over all places cannot tell the quarters
    config = AdoptConfig(dataset=str(images), truth="own", normalise=("0..1",), epochs=1, head="linear")
    with pytest.raises(AdoptError, match=r"no exit pays: .* by itself 100\.0%; nothing was written"):
        adoption.build(str(net), tmp_path / "bundle", config)
    assert not (tmp_path / "bundle").exists()


def test_labels_and_images_without_labels_are_combined(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, few = saved(NET, tmp_path), folder(tmp_path / "few", 40, seed=4)
    asked = [
        str(net),
        "--dataset",
        str(few),
        "--unlabelled",
        str(images),
        "--normalise",
        "0..1",
        "--epochs",
        "1",
    ]
    more = ["--exits", "r2", "--head-share", "0.1", "--json", str(tmp_path / "figures")]
    assert adopt.main([*asked, *more, "--out", str(tmp_path / "bundle")]) == 0
    said = capsys.readouterr().out
    assert "60 images of" in said.replace("\n", " ")
    figures = json.loads((tmp_path / "figures").read_text())
    assert (figures["truth"], figures["images"]) == ("labels", 20)
    assert figures["agreement"]["images"] == 60
    assert figures["agreement"]["accuracy"][-1] == 1
    manifest = read_bundle(tmp_path / "bundle").manifest
    assert (manifest.method.options["images"], manifest.method.options["unlabelled_images"]) == (60, 60)
    assert manifest.data_set.validation_images == 40
    assert adopt.main([*asked, "--truth", "own", "--out", str(tmp_path / "other")]) == 2
    assert "--truth own takes no labels: name all images by --dataset" in capsys.readouterr().err


def test_each_image_of_a_batch_learns_from_what_it_has() -> None:
    logits, teacher = torch.randn(6, 4), torch.randn(6, 4)
    labels = torch.tensor([0, -1, 2, -1, -1, 3])
    alone = [_loss(logits[[row]], teacher[[row]], labels[[row]]) for row in range(6)]
    assert _loss(logits, teacher, labels).item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-5)


def test_exits_are_named_by_tensor_or_share(tmp_path: Path) -> None:
    network = read_network(saved(NET, tmp_path))
    found = cuts(network)
    assert [cut.tensor for cut in chosen_cuts(network, found, "14%,r2,r1")[0]] == ["r1", "r2"]
    with pytest.raises(ConfigError, match=r"has no such place to cut; it has r1 \("):
        chosen_cuts(network, found, "layer9")
    with pytest.raises(ConfigError, match="between 0% and 100%"):
        chosen_cuts(network, found, "140%")
    with pytest.raises(ConfigError, match="auto:K with K from 1"):
        chosen_cuts(network, found, "auto:0")


def test_the_smallest_subset_within_chance_of_the_best_is_chosen() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    # The first exit is as good as the second; the third is sure and right.
    noise = np.stack([rng.random(2000) < share for share in (0.1, 0.1, 0.0)], axis=1)
    right = np.where(noise, 1 - labels[:, None], labels[:, None])
    sure = np.where(noise, 0.6, 0.9)
    probabilities = np.stack([np.where(right == c, sure, 1 - sure) for c in (0, 1)], axis=-1).astype(
        np.float32
    )
    segments = [SegmentFlops(20, 1), SegmentFlops(40, 1), SegmentFlops(40, 0)]
    choice = best_subset(probabilities, labels, segments, 100, most=2)
    assert choice.kept == (0,)
    assert choice.best - choice.mean < 0.01
    assert choice.richest > 0.95


def test_exits_are_chosen_by_time_where_that_is_asked_for(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mostly_first(assembled: Assembled, image: object) -> list[SegmentFlops]:
        others = len(assembled.parts) - 2
        return [SegmentFlops(10**6, 1), *[SegmentFlops(1, 1)] * others, SegmentFlops(1, 0)]

    monkeypatch.setattr(adoption, "segment_times", mostly_first)
    told: list[str] = []
    config = AdoptConfig(
        dataset=str(images), truth="own", normalise=("0..1",), epochs=2, head_share=0.1, cost="time"
    )
    with pytest.raises(AdoptError, match="no exit pays: at 80% of its cost 0"):
        adoption.build(str(saved(NET, tmp_path)), tmp_path / "bundle", config, tell=told.append)
    assert any("of the time" in text for text in told)


def test_the_time_of_a_segment_is_divided_between_body_and_head(images: Path, tmp_path: Path) -> None:
    ticks = iter(range(10_000))
    config = AdoptConfig(dataset=str(images), truth="own", normalise=("0..1",), epochs=1, exits="r1,r2")
    network = read_network(saved(NET, tmp_path))
    prepared = adoption.prepare(network, open_images(config, trains=True), config, tmp_path / "work")
    found = segment_times(prepared.assembled, pictures(1, seed=0)[0], clock=lambda: float(next(ticks)))
    assert found == [SegmentFlops(10**9, 1), SegmentFlops(10**9, 1), SegmentFlops(10**9, 0)]


def test_unlabelled_images_need_to_be_asked_for(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = saved(NET, tmp_path)
    common = [str(net), "--dataset", str(images), "--out", str(tmp_path / "bundle")]
    assert adopt.main(common) == 2
    assert "expected parquet files, or one sub-folder of images per class" in capsys.readouterr().err
    assert adopt.main([*common, "--truth", "own"]) == 2
    assert "nothing says how its pixels are normalised" in capsys.readouterr().err
    (tmp_path / "bundle").mkdir()
    with pytest.raises(OfframpError, match="already"):
        adoption.build(str(net), tmp_path / "bundle", AdoptConfig(dataset=str(images), truth="own"))
