"""A bundle cut shorter answers at its exits what the whole one answers there, and passes the judge."""

from pathlib import Path

import numpy as np
import pytest

from serving.bundle import read_bundle
from serving.bundle_check import check_bundle
from serving.engine.engine import Engine
from tests.bundles import EXIT_FLOPS, tiny_bundle, tiny_images
from training.calibration.collect import engine_probabilities
from training.errors import ConfigError
from training.exporting.truncate import shortened


@pytest.mark.parametrize("exits", [1, 2, 3])
def test_it_answers_as_the_whole_net_does_at_that_exit(tmp_path: Path, exits: int) -> None:
    whole = tiny_bundle(tmp_path / "whole")
    cut = shortened(whole, exits, tmp_path / "cut")
    images = tiny_images(20)
    expected = engine_probabilities(Engine(whole), images)[:, :exits]
    np.testing.assert_array_equal(engine_probabilities(Engine(read_bundle(cut.folder)), images), expected)
    assert cut.manifest.exit_flops == EXIT_FLOPS[:exits]
    assert [verdict.detail for verdict in check_bundle(cut.folder) if not verdict.ok] == []


@pytest.mark.parametrize("exits", [0, 4])
def test_exits_that_are_not_there_are_refused(tmp_path: Path, exits: int) -> None:
    with pytest.raises(ConfigError, match=f"expected 1 to 3 exits to be left, found {exits}"):
        shortened(tiny_bundle(tmp_path / "whole"), exits, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
