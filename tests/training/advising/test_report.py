import io
import json
from pathlib import Path

from rich.console import Console

from tests.training.advising.test_frontier import point
from training.advising import plot, report
from training.advising.report import Advice

CASCADE = [
    point("small → large", spent * 1e6, right, "cascade", ms=ms)
    for spent, right, ms in ((41, 0.81, 1.2), (60, 0.92, 1.5), (140, 0.90, 3.0))
]
ALONE = [point("small", 40e6, 0.80, ms=1.0), point("large", 100e6, 0.90, ms=1.4)]


def advice(budget: float | None = None, latency: float | None = None, truth: str = "labels") -> Advice:
    return Advice([*ALONE, *CASCADE], 1000, "quarters", truth, 100e6, budget, latency, ["left out: x"])


def test_the_best_for_a_budget_is_named_with_its_gain() -> None:
    said = report.sentences(advice(budget=60e6))
    assert said[0] == "left out: x"
    assert said[1] == (
        "60 MFLOPs: small → large, float32 in bundle small → large: 92.00% at 60 MFLOPs, 1.50 ms"
    )
    assert said[2] == (
        "60 MFLOPs: that is +12.00 ± 1.03 points over the best single network, small, float32 with 80.00%"
    )


def test_a_latency_holds_for_95_of_100_images() -> None:
    said = report.sentences(advice(latency=2.8))  # twice the mean
    assert said[1].startswith("95% of single images within 2.8 ms: large, float32 in bundle large: 90.00%")
    assert not said[2].startswith("95%")  # it is itself the best single network


def test_a_budget_under_everything_is_said() -> None:
    said = report.sentences(advice(budget=1e6))
    assert said[1].startswith("1 MFLOPs: nothing is so cheap; small, float32 comes nearest, with 40 MFLOPs")


def test_it_says_where_leaving_early_pays_and_where_not() -> None:
    over_flops, over_time = report.sentences(advice())[1:]
    assert over_flops == (
        "small → large, float32: in MFLOPs, leaving early pays at 41, 60 MFLOPs (up to +12.00 points); "
        "makes no difference at 140 MFLOPs"
    )
    assert over_time == (
        "small → large, float32: in ms, leaving early pays at 1.2, 1.5 ms (up to +2.00 points); "
        "makes no difference at 3 ms"
    )


def test_figures_are_written_and_drawn(tmp_path: Path) -> None:
    found = advice(budget=60e6, latency=2.0, truth="large")
    report.write(found, tmp_path / "advice.json")
    written = json.loads((tmp_path / "advice.json").read_text())
    assert written["frontier"]["flops"] == [
        {"bundle": "small", "budget_flops": None},
        {"bundle": "small → large", "budget_flops": None},
        {"bundle": "small → large", "budget_flops": None},
    ]
    assert [round(each["accuracy"], 2) for each in written["points"]] == [0.8, 0.9, 0.81, 0.92, 0.9]
    plot.draw(found, tmp_path / "advice.png")
    assert (tmp_path / "advice.png").read_bytes().startswith(b"\x89PNG")
    console = Console(width=200, record=True, file=io.StringIO())
    report.show(found, console)
    assert "agrees with large %" in console.export_text()
