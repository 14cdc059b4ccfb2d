from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import Bundle
from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from tests.training.adopting.graphs import saved
from tests.training.adopting.pictures import folder, pictures, quarters
from training import cascade
from training.adopting import adoption, cascading, report
from training.adopting.config import AdoptConfig, AdoptingConfig
from training.adopting.drafting import Done
from training.adopting.ensembling import Ensemble, fit_ensemble
from training.calibration.collect import Probabilities, engine_probabilities

NETS = (quarters(noise=0.5, work=2, seed=1), quarters(noise=0.4, work=4, seed=2), quarters(noise=0.3, work=8))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("quarters"), 200)


def built(images: Path, place: Path, nets: tuple[onnx.ModelProto, ...] = NETS, **options: Any) -> Done:
    place.mkdir(exist_ok=True)
    names = [str(saved(model, place, f"net{number}")) for number, model in enumerate(nets)]
    config = AdoptingConfig.model_validate({"dataset": str(images), "normalise": ("0..1",), **options})
    return cascading.build(names, place / "bundle", config)


def answers(bundle: Bundle) -> Probabilities:
    return engine_probabilities(Engine(bundle), pictures(64, seed=5)[0])


def weights(bundle: Bundle) -> Ensemble:
    facts: Any = bundle.manifest.method.options["ensemble"]
    return Ensemble(tuple(facts["carried"]), tuple(facts["own"]))


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Probabilities:
    return answers(built(images, tmp_path_factory.mktemp("alone")).written.bundle)


@pytest.mark.parametrize(("which", "together"), [("early", 2), ("all", 3)])
def test_exits_answer_by_all_before_them(
    which: str, together: int, images: Path, alone: Probabilities, tmp_path: Path
) -> None:
    done = built(images, tmp_path, ensemble=which)
    bundle = done.written.bundle
    found, ensemble = answers(bundle), weights(bundle)
    assert len(ensemble.own) == together - 1
    np.testing.assert_allclose(found, ensemble(alone), atol=1e-5)
    assert np.abs(found[:, 1] - alone[:, 1]).max() > 1e-3
    np.testing.assert_array_equal(found[:, together:], alone[:, together:])
    crossing = [segment.outputs[1:] for segment in bundle.manifest.segments]
    assert [[spec.shape for spec in specs] for specs in crossing] == [
        [(None, 8, 8, 3), (None, 4)],
        [(None, 8, 8, 3), *([(None, 4)] if which == "all" else [])],
        [],
    ]
    assert all(verdict.ok for verdict in check_bundle(bundle.folder))
    assert done.last.changed == 0
    said = report.sentences(done, report.judge(done))[0]
    assert said.startswith(
        f"last exit{', before the ensemble' if which == 'all' else ''} against the original"
    )


@pytest.mark.parametrize(
    ("options", "atol"),
    [
        ({"precision": "int8", "max_drop": 50.0}, 0.1),
        ({"precision": "float16", "max_drop": 50.0}, 0.02),
        ({"gather_rows": True}, 1e-5),
    ],
)
def test_other_precisions_combine_in_float(
    options: dict[str, Any], atol: float, images: Path, alone: Probabilities, tmp_path: Path
) -> None:
    bundle = built(images, tmp_path, ensemble="all", **options).written.bundle
    assert [segment.outputs[-1].dtype for segment in bundle.manifest.segments[:-1]] == ["float32"] * 2
    if options != {"gather_rows": True}:
        np.testing.assert_allclose(answers(bundle), weights(bundle)(alone), atol=atol)
    assert all(verdict.ok for verdict in check_bundle(bundle.folder))


def test_an_adopted_networks_early_exits_combine(images: Path, tmp_path: Path) -> None:
    net = saved(quarters(work=8, depth=3), tmp_path)
    values = {"dataset": str(images), "truth": "own", "normalise": ("0..1",), "epochs": 1, "head_share": 0.1}
    config = AdoptConfig.model_validate({**values, "exits": "r1,r2", "ensemble": "early"})
    done = adoption.build(str(net), tmp_path / "bundle", config)
    assert len(weights(done.written.bundle).own) == 1
    assert done.last.changed == 0
    assert done.written.bundle.calibration.accuracy[-1] == 1
    assert all(verdict.ok for verdict in check_bundle(tmp_path / "bundle"))


def test_one_early_exit_has_nothing_to_combine_with(images: Path, tmp_path: Path) -> None:
    told: list[str] = []
    names = [str(saved(model, tmp_path, f"net{number}")) for number, model in enumerate(NETS[1:])]
    config = AdoptingConfig(dataset=str(images), normalise=("0..1",), ensemble="early")
    bundle = cascading.build(names, tmp_path / "bundle", config, tell=told.append).written.bundle
    assert "ensemble" not in bundle.manifest.method.options
    assert "--ensemble early: nothing to combine, since 1 of 2 exits would take part" in " ".join(told)


def test_own_answers_are_not_the_truth_of_an_ensemble(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["a.onnx", "b.onnx", "--dataset", str(images), "--truth", "own", "--ensemble", "all"]
    assert cascade.main([*asked, "--out", str(tmp_path / "bundle")]) == 2
    assert "give --ensemble early" in capsys.readouterr().err


def test_weights_are_those_that_make_the_labels_likeliest() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 4000)
    signal = 2.0 * np.eye(5)[labels]
    logits = np.stack([signal + scale * rng.standard_normal((4000, 5)) for scale in (1.0, 2.0)], axis=1)
    powers = np.exp(logits)
    probabilities = (powers / powers.sum(axis=2, keepdims=True)).astype(np.float32)
    (carried,), (own,) = (lambda found: (found.carried, found.own))(fit_ensemble(probabilities, labels, 2))
    # Independent Gaussian noise: the evidence of each is its signal by its variance.
    assert carried == pytest.approx(2.0, rel=0.1)
    assert own == pytest.approx(0.5, rel=0.1)
    together = Ensemble((carried,), (own,))(probabilities)
    right = (together.argmax(-1) == labels[:, None]).mean(axis=0)
    assert right[1] > right[0]
    assert right[0] == (probabilities[:, 0].argmax(-1) == labels).mean()


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_an_ensemble_is_never_less_likely_than_the_exit_by_itself(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.2), (40, 3)).astype(np.float32)
    labels = rng.integers(0, classes, 40)
    ensemble = fit_ensemble(probabilities, labels, 3)
    assert np.isfinite([*ensemble.carried, *ensemble.own]).all()

    def loss(found: Probabilities, number: int) -> float:
        return float(-np.log(np.maximum(found[np.arange(40), number, labels], 1e-30)).mean())

    together = ensemble(probabilities)
    np.testing.assert_allclose(together.sum(axis=2), 1, atol=1e-4)
    assert loss(together, 1) <= loss(probabilities, 1) + 1e-3


def test_answers_without_an_error_have_weights_too() -> None:
    probabilities = np.broadcast_to(np.array([0.9, 0.1], np.float32), (20, 2, 2))
    ensemble = fit_ensemble(probabilities, np.zeros(20, np.int64), 2)
    assert all(abs(weight) < 10 for weight in (*ensemble.carried, *ensemble.own))
