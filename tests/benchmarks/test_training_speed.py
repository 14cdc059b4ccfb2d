"""The page of training speed: rates, and ratios of neighbouring rounds."""

from benchmarks.training_speed import page


def test_the_page_divides_round_by_round() -> None:
    seconds = {
        "fit, float32": [10.0, 12.0],
        "bare loop, float32": [9.8, 11.4],
        "fit, bf16": [5.0, 6.0],
        "bare loop, bf16": [4.0, 4.8],
        "Meta-GF, float32": [45.0, 60.0],
        "Meta-GF, bf16": [20.0, 24.0],
    }
    text = page(
        {
            "model": "msdnet-small",
            "batch_size": 64,
            "images": 1200,
            "machine": {"threads": 2, "cpu": "avx2", "torch": "2.15"},
            "seconds_per_epoch": seconds,
        }
    )
    assert "| fit, float32 | 100 | 110 | 120 |" in text
    assert "| fit, bf16 / fit, float32 | 2.000 | 2.000 | 2.000 |" in text
    assert "- Overhead of fit in float32: 3.5% (target: at most 5%: met)." in text
    assert "- Overhead of fit in bf16: 20.0% (target: at most 5%: **missed**)." in text
    assert "| float32 | 4.50 | 4.75 | 5.00 |" in text
