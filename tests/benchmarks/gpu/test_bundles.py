"""A network's bundles: one calibration and one set of thresholds, whatever the precision and the cut."""

import numpy as np
import pytest

from benchmarks.gpu.bundles import Cuts, given, written
from benchmarks.gpu.networks import Network, pictures, with_exits
from benchmarks.photo.networks import Exits
from serving.bundle import Preprocessing, read_bundle
from serving.engine.engine import Engine
from training.calibration.collect import engine_probabilities

SIDE = 32


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Cuts:
    spec = Preprocessing(height=SIDE, width=SIDE)
    images = pictures(spec, 8)
    model = with_exits(Exits("resnet18", ("layer1",)), images, SIDE)
    net = Network("resnet18", model, spec, images)
    return written(net, ["float32", "float16"], tmp_path_factory.mktemp("bundles"))


def test_every_precision_is_cut_for_the_host_and_for_the_device(cuts: Cuts) -> None:
    found = {key: read_bundle(folder) for key, folder in cuts.folders.items()}
    assert [
        (precision, place, bundle.manifest.precision, bundle.manifest.segments[1].gathers_rows)
        for (precision, place), bundle in found.items()
    ] == [
        ("float32", "host", "float32", False),
        ("float32", "device", "float32", True),
        ("float16", "host", "float16", False),
        ("float16", "device", "float16", True),
    ]
    answers = {key: engine_probabilities(Engine(bundle), cuts.images) for key, bundle in found.items()}
    known = answers["float32", "host"]
    for (precision, _), probabilities in answers.items():
        np.testing.assert_allclose(probabilities, known, atol=1e-5 if precision == "float32" else 0.02)
    calibration = found["float16", "device"].calibration
    np.testing.assert_allclose(calibration.confidence["max_probability"], known.max(axis=-1), atol=1e-6)
    assert not calibration.certify.any()


def test_answers_differ_from_image_to_image(cuts: Cuts) -> None:
    confidence = read_bundle(cuts.folders["float32", "host"]).calibration.confidence["max_probability"]
    assert all(len(np.unique(column)) == len(column) for column in confidence.T)


def test_bundles_that_are_there_are_measured_at_their_size(cuts: Cuts) -> None:
    host, device = cuts.folders["float16", "host"], cuts.folders["float16", "device"]
    found = given(host, device, 3)
    assert found.name == host.name
    assert found.images.shape == (3, SIDE, SIDE, 3)
    assert found.folders == {("float16", "host"): host, ("float16", "device"): device}
