"""The page of growth."""

from benchmarks.growth import page


def test_the_page_has_what_was_measured_and_nothing_else() -> None:
    step = {"requests/s": 1234.5, "MB resident": 200.0}
    results = {
        "bundle": "ladder",
        "machine": {"cores": 2, "cpu": "a CPU", "onnxruntime": "1.31"},
        "connections": [{"connections": 1, **step}, {"connections": 512, **step}],
        "mixed": {"requests": 1000, "first": {"MB": 1.0}, "last": {"MB": 2.5}, "grown": [], "faults": 0},
    }
    text = page(results)
    assert "| 512 | 1,234.50 | 200 |" in text
    assert "| MB | 1.00 | 2.50 |" in text
    assert "Grew by more than chance explains: nothing." in text
    assert "Models loaded" not in text
