"""`calibration.npz` is data, never code, and never more than it says."""

import io
import pickle
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import calibration as module
from serving.bundle.calibration import Calibration
from serving.errors import BundleError
from tests.bundles import CLASSES, EXIT_FLOPS, tiny_calibration


def check(calibration: Calibration) -> None:
    calibration.validate(len(CLASSES), len(EXIT_FLOPS), "margin")


def npz(**arrays: Any) -> bytes:
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


def test_round_trip() -> None:
    before = tiny_calibration()
    after = Calibration.from_bytes(before.to_bytes())
    check(after)
    for name in ("labels", "prediction", "certify"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype
    for measure, values in before.confidence.items():
        np.testing.assert_array_equal(after.confidence[measure], values)
        np.testing.assert_array_equal(after.temperature[measure], before.temperature[measure])
    assert after.to_bytes() == before.to_bytes()


def test_numpys_own_writer_is_understood() -> None:
    tiny = tiny_calibration()
    other = npz(
        labels=tiny.labels,
        prediction=np.asfortranarray(tiny.prediction),
        certify=tiny.certify,
        **{f"confidence.{name}": values for name, values in tiny.confidence.items()},
        **{f"temperature.{name}": values for name, values in tiny.temperature.items()},
    )
    read = Calibration.from_bytes(other)
    check(read)
    np.testing.assert_array_equal(read.prediction, tiny.prediction)


def test_derived_values() -> None:
    tiny = Calibration(
        labels=np.array([0, 1]),
        prediction=np.array([[0, 0], [0, 1]], np.int32),
        confidence={},
        temperature={},
        certify=np.array([True, False]),
    )
    assert tiny.correct.tolist() == [[True, True], [False, True]]
    assert tiny.accuracy == (0.5, 1.0)
    assert tiny.fit.tolist() == [False, True]


def test_pickles_are_never_loaded() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was loaded",))

    objects = npz(labels=np.array([Bomb()], dtype=object))
    with pytest.raises(BundleError, match="pickled objects"):
        Calibration.from_bytes(objects)
    with pytest.raises(BundleError, match="not a readable npz"):
        Calibration.from_bytes(pickle.dumps([1, 2]))


def test_a_zip_bomb_is_refused_from_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", bytes(1001))
    with pytest.raises(BundleError, match="it unpacks to 1001 bytes"):
        Calibration.from_bytes(packed.getvalue())


def test_a_header_may_not_claim_more_than_there_is() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (10**15,)})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("labels.npy", header.getvalue())
    with pytest.raises(BundleError, match="does not fit its bytes"):
        Calibration.from_bytes(packed.getvalue())


@given(st.integers(0, 2**16), st.binary(min_size=1, max_size=8))
def test_damage_is_an_error_or_harmless(place: int, damage: bytes) -> None:
    data = bytearray(tiny_calibration().to_bytes())
    place %= len(data)
    data[place : place + len(damage)] = damage
    try:
        check(Calibration.from_bytes(bytes(data)))
    except BundleError as error:
        assert str(error)  # noqa: PT017 - either outcome is right


@given(st.integers(0, 2**16))
def test_every_truncation_is_refused(length: int) -> None:
    data = tiny_calibration().to_bytes()
    with pytest.raises(BundleError, match="not a readable npz"):
        Calibration.from_bytes(data[: length % len(data)])


def test_arrays_missing_or_unknown() -> None:
    with pytest.raises(BundleError, match=r"arrays \['certify', 'prediction'\] are missing"):
        Calibration.from_bytes(npz(labels=np.zeros(1)))
    tiny = tiny_calibration()
    with pytest.raises(BundleError, match="found 'notes' too"):
        Calibration.from_bytes(
            npz(labels=tiny.labels, prediction=tiny.prediction, certify=tiny.certify, notes=np.zeros(1))
        )


TINY = tiny_calibration()
BROKEN = {
    "label type": (replace(TINY, labels=TINY.labels.astype(np.int32)), "labels must be int64"),
    "label shape": (replace(TINY, labels=TINY.labels[:, None]), "labels must be int64"),
    "label range": (replace(TINY, labels=TINY.labels + 1), r"labels must lie in 0\.\.3"),
    "prediction range": (replace(TINY, prediction=TINY.prediction - 1), r"prediction must lie in 0\.\.3"),
    "exits": (
        replace(TINY, prediction=TINY.prediction[:, :2]),
        r"prediction must be int32 \[400, 3\]; found",
    ),
    "images": (replace(TINY, certify=TINY.certify[:-1]), r"certify must be bool \[400\]"),
    "no images to fit": (replace(TINY, certify=np.ones(400, np.bool_)), "kept for certifying"),
    "no measure": (replace(TINY, confidence={}, temperature={}), "names the confidence 'margin'"),
    "no temperature": (replace(TINY, temperature={}), "one temperature array per confidence"),
    "NaN": (
        replace(
            TINY,
            confidence={"margin": TINY.confidence["margin"] * np.float32(np.nan)},
            temperature={"margin": np.ones(3)},
        ),
        "must lie in",
    ),
    "percent": (
        replace(
            TINY, confidence={"margin": TINY.confidence["margin"] * 100}, temperature={"margin": np.ones(3)}
        ),
        "must lie in",
    ),
    "double": (
        replace(
            TINY,
            confidence={"margin": TINY.confidence["margin"].astype(np.float64)},
            temperature={"margin": np.ones(3)},
        ),
        "must be float32",
    ),
    "cold": (
        replace(TINY, temperature=dict(TINY.temperature) | {"margin": np.zeros(3)}),
        "finite and positive",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_wrong_arrays_are_named(case: str) -> None:
    broken, text = BROKEN[case]
    with pytest.raises(BundleError, match=text):
        check(broken)
