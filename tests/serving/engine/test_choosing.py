"""The choice of a runtime: bounded, in favour of the one that answers are known from, and said."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.engine import choosing
from serving.engine.choosing import EngineOptions, compare, open_engine
from serving.engine.engine import Engine
from serving.errors import EngineError
from tests.bundles import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


class Rival(Engine):
    """An engine on ONNX Runtime under another name."""


class Clock:
    """Says how long each engine takes in turn: the first, then the second."""

    def __init__(self, first: float, second: float) -> None:
        self._turns = self._seconds(first, second)

    def _seconds(self, first: float, second: float) -> Iterator[float]:
        now = 0.0
        for turn in count():
            yield now
            now += second if turn % 2 else first
            yield now

    def __call__(self) -> float:
        return next(self._turns)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if both runtimes were installed; either is ONNX Runtime in truth."""
    monkeypatch.setattr(choosing, "candidates", lambda *asked, **more: ("onnxruntime", "openvino"))

    def opened(bundle: Bundle, runtime: str, options: EngineOptions) -> Engine:
        return Rival(bundle) if runtime == "openvino" else Engine(bundle)

    monkeypatch.setattr(choosing, "_open", opened)


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(("second", "wins"), [(0.5, True), (0.89, True), (0.95, False), (2.0, False)])
def test_the_other_runtime_has_to_be_clearly_quicker(bundle: Bundle, second: float, wins: bool) -> None:
    found = open_engine(bundle, EngineOptions(), clock=Clock(1.0, second), processor=None)
    assert isinstance(found.engine, Rival) is wins
    assert found.milliseconds == pytest.approx({"onnxruntime": 125.0, "openvino": 125.0 * second})


@pytest.mark.usefixtures("both")
def test_a_runtime_that_cannot_run_the_bundle_is_passed_over(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = choosing._open

    def opened(bundle: Bundle, runtime: str, options: EngineOptions) -> Engine:
        if runtime == "openvino":
            raise EngineError("no such operator")
        engine: Engine = real(bundle, runtime, options)
        return engine

    monkeypatch.setattr(choosing, "_open", opened)
    found = open_engine(bundle, EngineOptions())
    assert not isinstance(found.engine, Rival)
    assert found.milliseconds == {}


def test_the_comparison_ends_after_a_few_seconds(bundle: Bundle) -> None:
    engines = [Engine(bundle), Engine(bundle)]
    rested: list[float] = []
    assert compare(engines, Clock(10.0, 20.0), rested.append) == [1.25, 2.5]
    assert rested == [10.0, 20.0]


def test_one_runtime_is_not_timed(bundle: Bundle) -> None:
    def never() -> float:
        raise AssertionError("nothing to compare")

    found = open_engine(bundle, EngineOptions(runtime="onnxruntime"), clock=never)
    assert found.engine.arithmetic.runtime == "onnxruntime"
    assert found.milliseconds == {}


def test_auto_takes_one_of_those_installed(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    found = open_engine(tiny_bundle(tmp_path / "tiny"), EngineOptions())
    assert found.milliseconds.keys() == {"onnxruntime", "openvino"}
    assert np.isfinite(list(found.milliseconds.values())).all()
