"""Real processes: one that answers, one that cannot load, one that is killed."""

import multiprocessing
from pathlib import Path

import pytest

from benchmarks.gpu.bundles import Cuts
from benchmarks.gpu.measuring import measure
from benchmarks.gpu.ways import Running, Settings, Way, WayError
from serving.engine.providers import CPU, CUDA
from tests.bundles import tiny_bundle, tiny_images

SETTINGS = Settings(budget="50%", max_batch=4, threads=1)


def test_ways_that_run_have_figures_and_others_a_reason(tmp_path: Path) -> None:
    plain = tiny_bundle(tmp_path / "plain").folder
    cuts = Cuts("tiny", tiny_images(6), {("float32", "host"): plain, ("float32", "device"): plain})
    said: list[str] = []
    ran, broken, *missing = measure(cuts, {CPU: None, CUDA: "no GPU"}, SETTINGS, 1, said.append)
    assert len(ran.answers) == 6
    assert ran.trouble is None
    assert broken.trouble is not None
    assert "segment 2 takes no input 'rows'" in broken.trouble
    assert [row.trouble for row in missing] == ["not here: no GPU"] * 2
    assert said[-1] == "tiny: round 1 of 1"


def test_a_process_that_is_ended_is_told_by_its_signal(tmp_path: Path) -> None:
    way = Way(tiny_bundle(tmp_path / "plain").folder, "host", (CPU,))
    with Running(way, tiny_images(2), SETTINGS) as running:
        (process,) = multiprocessing.active_children()
        process.kill()
        with pytest.raises(WayError, match="ended with SIGKILL"):
            running.turn()
