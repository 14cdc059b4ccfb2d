import json
from pathlib import Path

import pytest

from serving.bundle import read_bundle
from tests.bundles import tiny_bundle
from tests.training.adopting.graphs import saved
from tests.training.adopting.pictures import folder, quarters
from training import advise
from training.adopting import cascading
from training.adopting.config import AdoptingConfig

SMALL, LARGE = quarters(noise=0.5, work=2), quarters(work=8, depth=3)
QUICK = [
    "--normalise",
    "0..1",
    "--timed-images",
    "2",
    "--rounds",
    "1",
    "--epochs",
    "2",
    "--head-share",
    "0.1",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, images, and a bundle of other networks."""
    made = tmp_path_factory.mktemp("advice")
    for name, net in (("small", SMALL), ("large", LARGE)):
        saved(net, made, name)
    folder(made / "images", 120)
    folder(made / "test", 40, seed=9)
    names = [str(saved(quarters(noise=0.9, work=1), made, "tiny")), str(made / "large.onnx")]
    config = AdoptingConfig(dataset=str(made / "images"), normalise=("0..1",))
    cascading.build(names, made / "mine", config)
    return made


@pytest.fixture(scope="module")
def asked(place: Path) -> list[str]:
    nets = [str(place / name) for name in ("large.onnx", "small.onnx", "mine")]
    data = ["--dataset", str(place / "images"), "--test-dataset", str(place / "test")]
    return [*nets, *data, *QUICK, "--precision", "float32", "--exits", "r1"]


def test_every_alternative_is_served_and_compared(
    place: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "out"
    assert advise.main([*asked, "--out", str(out), "--budget", "50%", "--latency-ms", "1000"]) == 0
    said = capsys.readouterr().out
    written = json.loads((out / "advice.json").read_text())
    points = written["points"]
    assert list(dict.fromkeys(point["alternative"] for point in points)) == [
        *("small", "large", "small → large", "large with exits", "mine"),
    ]
    by_bundle = {point["bundle"]: point for point in points if point["budget_flops"] is None}
    full = written["full_flops"]
    assert by_bundle["network-large"]["spent_flops"] == full
    assert by_bundle["network-large"]["accuracy"] == 1.0
    assert by_bundle["network-small"]["accuracy"] < 1.0
    asked_for = [point["budget_flops"] for point in points if point["bundle"] == "cascade-small-large"]
    assert full / 2 in asked_for
    assert written["frontier"]["flops"][-1] in [
        {"bundle": point["bundle"], "budget_flops": point["budget_flops"]}
        for point in points
        if point["accuracy"] == 1.0
    ]
    assert f"{full / 2e6:,.4g} MFLOPs: " in said
    assert "95% of single images within 1000 ms: " in said
    assert (out / "advice.png").read_bytes().startswith(b"\x89PNG")
    assert read_bundle(out / "bundles" / "exits-large").manifest.segments
    assert sorted(path.name for path in out.iterdir()) == [".key", "advice.json", "advice.png", "bundles"]


def test_asked_again_it_measures_the_same_bundles(
    place: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "out"
    before = (out / "bundles" / "exits-large" / "manifest.json").stat().st_mtime_ns
    without_mine = [word for word in asked if word != str(place / "mine")]
    assert advise.main([*without_mine, "--out", str(out), "--adopt", "none", "--cascades", "none"]) == 0
    assert "building" not in capsys.readouterr().out
    assert (out / "bundles" / "exits-large" / "manifest.json").stat().st_mtime_ns == before
    assert advise.main([*asked, "--out", str(out), "--seed", "1"]) == 2
    assert "holds bundles of other networks, images or settings" in capsys.readouterr().err


def test_without_labels_the_dearest_network_says_what_is_right(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = folder(place / "flat", 60, flat=True)
    out = place / "own"
    nets = [str(place / "small.onnx"), str(place / "large.onnx")]
    more = [
        "--dataset",
        str(flat),
        "--truth",
        "own",
        "--adopt",
        "none",
        "--cascades",
        "none",
        "--precision",
        "float32",
    ]
    assert advise.main([*nets, *more, *QUICK, "--out", str(out)]) == 0
    written = json.loads((out / "advice.json").read_text())
    assert written["truth"] == "large"
    assert {p["bundle"]: p["accuracy"] for p in written["points"]}["network-large"] == 1.0
    assert written["images"] == 15  # of 60 half may calibrate, and half of these judge


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "much"], "--budget: expected a number of FLOPs"),
        (["--out", "PLACE"], "expected a new folder, or one of an earlier advice"),
        (["--latency-ms", "0"], "--latency-ms: Input should be greater than 0"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, place: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(place) if word == "PLACE" else word for word in words]
    out = [] if "--out" in words else ["--out", str(place / "none")]
    assert advise.main([*asked, *out, *words]) == 2
    assert said in capsys.readouterr().err
    assert not (place / "none").exists()


def test_a_bundle_over_other_classes_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_bundle(place / "tiny")
    data = ["--dataset", str(place / "images"), "--out", str(place / "none")]
    assert advise.main([str(place / "tiny"), *data]) == 2
    assert "expected a bundle over the data set's classes" in capsys.readouterr().err
