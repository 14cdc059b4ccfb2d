"""The stand-in for the engine is enough of one for a model, and answers from the calibration."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.core_cost import CALLERS, Replay, drive, numbered
from serving.bundle import read_bundle
from serving.model import Model, RuntimeOptions

BUNDLE = Path(__file__).parents[3] / "exported_models" / "cifar10-msdnet-int8"


def test_a_model_answers_from_the_calibration_by_the_stand_in() -> None:
    bundle = read_bundle(BUNDLE)
    images = numbered(bundle)
    engine: Any = Replay(bundle)
    with Model(bundle, engine, RuntimeOptions()) as model:
        done = Future[None]()
        drive(model, images, "50%", 2 * CALLERS, lambda: done.set_result(None))
        done.result(timeout=30)

        (answer,) = model.submit(images[7], "100%").future.result(timeout=30)

    expected = bundle.calibration.confidence["max_probability"][7, -1]
    np.testing.assert_allclose(answer.confidence, expected, atol=1e-6)
