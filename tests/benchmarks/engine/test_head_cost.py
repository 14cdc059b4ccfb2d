"""The options that heads are measured with, and the page of their times."""

from benchmarks.engine.head_cost import HEADS, NETWORKS, options, page
from training.models.registry import architecture


def test_every_network_takes_every_kind_of_head() -> None:
    widths = []
    for name, (preset, _) in NETWORKS.items():
        for head in HEADS:
            chosen = architecture(preset, options(name, head)).describe()
            widths.append(chosen["head_channels"])
    assert widths == [128, 64, 128, 128, 64, 32, 64, 64]


def test_the_page_takes_the_least_of_the_rounds() -> None:
    row = {"network": "ladder", "precision": "int8", "head": "half", "head_flops": 1.5e6, "flops": 1e8}
    rows = [{**row, "segments": [500.0, 400.0, 520.0], "without heads": [360.0, 390.0, 410.0]}]
    text = page({"onnxruntime": "1.31", "batch": 32, "rounds": 3, "clock": "cpu", "rows": rows})
    assert "| `ladder` | int8 | conv, half as wide | 1.50 of 100.0 | 400 | 40 | 10.0 |" in text
