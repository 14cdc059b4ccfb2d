"""The results under LoadGen as a page."""

from typing import Any

from benchmarks.reporting import table

OVER_OFFLINE = 0.87
"""Server rate over Offline rate that published runs reach."""


def page(results: dict[str, Any]) -> str:
    """The whole page.

    Args:
        results: as `__main__.py` writes them to JSON.
    """
    machine = results["machine"]
    flags = f", flags `{results['flags']}`" if results["flags"] else ""
    rows = [_row(row) for row in results["rows"]]
    lines = [
        "# Measured with LoadGen",
        "",
        "Written by `python -m benchmarks.loadgen`; [loadgen.json](loadgen.json) has LoadGen's summaries. "
        "The load comes from [LoadGen](https://github.com/mlcommons/inference/tree/master/loadgen), of "
        "MLCommons, over HTTP from the same cores. Nothing here was submitted to it or verified by it: "
        "network, images and durations are the project's own.",
        "",
        f"{results['bundle']}{flags}; {machine['cores']} cores ({machine['cpu']}), ONNX Runtime "
        f"{machine['onnxruntime']}. Tests of at least {results['seconds']:g} s.",
        "",
        "- *Offline*: all images at once.",
        f"- *Server*: Poisson arrivals, at the highest rate whose 99th percentile stays within "
        f"{results['bound_ms']:g} ms, found by bisection. Published runs reach {OVER_OFFLINE} of Offline. "
        "LoadGen's verdict also asks for enough queries to be sure of that percentile, which takes longer "
        "tests at low rates.",
        "- *SingleStream*: one image at a time.",
        "",
        *table(
            [
                "budget",
                "Offline, images/s",
                "Server, requests/s",
                "Server / Offline",
                "Server p50, p99 ms",
                "LoadGen's verdict",
                "SingleStream p50, p90, p99 ms",
            ],
            rows,
        ),
    ]
    return "\n".join(lines) + "\n"


def _row(row: dict[str, Any]) -> list[str]:
    offline, server = float(row["offline"]["Samples per second"]), row["server"]
    rate = row["server_rate"]
    return [
        f"{row['budget']}%",
        f"{offline:,.0f}",
        f"{rate:,.0f}" if server else "none",
        f"{rate / offline:.2f}" if server else "",
        _percentiles(server, "50.00", "99.00") if server else "",
        server["Result is"] if server else "",
        _percentiles(row["single"], "50.00", "90.00", "99.00"),
    ]


def _percentiles(summary: dict[str, str], *shares: str) -> str:
    """Latencies in milliseconds.

    >>> _percentiles({"50.00 percentile latency (ns)": "1500000"}, "50.00")
    '1.5'
    """
    found = (float(summary[f"{share} percentile latency (ns)"]) / 1e6 for share in shares)
    return " / ".join(f"{value:.1f}" for value in found)
