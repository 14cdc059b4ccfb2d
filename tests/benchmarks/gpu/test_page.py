"""The page says on what it was measured, and why a row has no figures."""

from typing import Any

from benchmarks.gpu.page import page

RAN = {
    "provider": "CPUExecutionProvider",
    "precision": "float32",
    "features": "host",
    "trouble": None,
    "load_seconds": 2.34,
    "images_per_second": [90.0, 110.0, 100.0],
    "processor_ms": [9.0, 11.0, 10.0],
    "exits": [5, 3],
    "as_first": 8,
}
DEVICE = {**RAN, "features": "device", "over_host": [0.5, 0.75, 0.7], "as_host": 8}
BROKEN = {**{key: RAN[key] for key in ("provider", "features")}, "precision": "float16"}
MISSING = {**BROKEN, "provider": "CUDAExecutionProvider", "trouble": "not here: no GPU"}


def results(**more: Any) -> dict[str, Any]:
    rows = [RAN, DEVICE, {**BROKEN, "trouble": "does not load: a|b\nc"}, MISSING]
    return {
        "gpus": 0,
        "gpu_names": [],
        "providers": {"CPUExecutionProvider": None, "CUDAExecutionProvider": "no GPU"},
        "settings": {"images": 8, "budget": "50%", "max_batch": 4, "rounds": 3, "threads": 1},
        "machine": {"cores": 2, "cpu": "a CPU", "onnxruntime": "1.31"},
        "networks": {"resnet50": {"exit_mflops": [793.0, 4104.0], "rows": rows}},
        **more,
    }


def test_without_a_gpu_the_page_says_so_and_names_what_is_missing() -> None:
    text = page(results())
    assert "**No GPU was found: the CPU provider ran.**" in text
    assert "| `CUDAExecutionProvider` | **not here**: no GPU |" in text
    assert text.count("CUDAExecutionProvider") == 1
    assert "Exits at 793 4,104 MFLOPs. Images that left there: 5 3." in text


def test_a_gpu_is_named() -> None:
    found = page(results(gpus=1, gpu_names=["A GPU, 580"]))
    assert "GPU: A GPU, 580." in found
    assert "No GPU was found" not in found
    assert "GPU: 2." in page(results(gpus=2))


def test_every_row_has_figures_or_the_reason_for_none() -> None:
    rows = [
        line for line in page(results()).splitlines() if line.startswith("| `CPU") and line.count("|") > 4
    ]
    assert rows == [
        "| `CPUExecutionProvider` | float32 | host | 90.0 / 100.0 / 110.0 | – | 9.0 / 10.0 / 11.0 | 2.3 | – "
        "| 8 of 8 |",
        "| `CPUExecutionProvider` | float32 | device | 90.0 / 100.0 / 110.0 | 0.50 / 0.70 / 0.75 "
        "| 9.0 / 10.0 / 11.0 | 2.3 | 8 of 8 | 8 of 8 |",
        r"| `CPUExecutionProvider` | float16 | host | **does not load: a\|b c** | – | – | – | – | – |",
    ]
