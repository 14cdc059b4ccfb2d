"""The search for the highest valid rate, and the page of LoadGen's own figures."""

from benchmarks.loadgen.__main__ import highest_rate
from benchmarks.loadgen.page import page

KEPT = "Performance constraints satisfied"
SUMMARY = {
    "Result is": "VALID",
    "Samples per second": "200.0",
    "50.00 percentile latency (ns)": "1500000",
    "90.00 percentile latency (ns)": "2000000",
    "99.00 percentile latency (ns)": "9000000",
}


def test_the_highest_valid_rate_is_found_by_halving() -> None:
    tried: list[float] = []

    def server(rate: float) -> dict[str, str]:
        tried.append(rate)
        return {KEPT: "Yes" if rate <= 72 else "NO", "rate": f"{rate:g}"}

    rate, summary = highest_rate(server, 100, 6)
    assert tried[:3] == [80, 40, 60]
    assert 70 <= rate <= 72
    assert summary is not None
    assert summary["rate"] == f"{rate:g}"


def test_a_server_that_never_keeps_the_bound_has_no_rate() -> None:
    assert highest_rate(lambda rate: {KEPT: "NO"}, 100, 4) == (0.0, None)


def test_the_page_says_who_measured_and_claims_nothing_of_mlperf() -> None:
    machine = {"cores": 2, "cpu": "a CPU", "onnxruntime": "1.31"}
    rows = [
        {"budget": 50, "offline": SUMMARY, "server_rate": 180.0, "server": SUMMARY, "single": SUMMARY},
        {"budget": 100, "offline": SUMMARY, "server_rate": 0.0, "server": None, "single": SUMMARY},
    ]
    text = page(
        {"bundle": "net", "machine": machine, "bound_ms": 100, "seconds": 8, "flags": "", "rows": rows}
    )
    assert text.startswith("# Measured with LoadGen\n")
    assert "| 50% | 200 | 180 | 0.90 | 1.5 / 9.0 | VALID | 1.5 / 2.0 / 9.0 |" in text
    assert "| 100% | 200 | none |  |  |  | 1.5 / 2.0 / 9.0 |" in text
    assert "mlperf" not in text.lower()
