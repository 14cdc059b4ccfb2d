"""The page: what the machine has, and a table for each network."""

from collections.abc import Mapping
from typing import Any

from benchmarks.reporting import spread, table

_HEAD = [
    "provider",
    "precision",
    "features on the",
    "images/s",
    "device / host",
    "processor ms an image",
    "s to load",
    "same as on the host",
    "same as the first row",
]
_NO_GPU = (
    "**No GPU was found: the CPU provider ran.** The page shows which ways run; its figures say nothing of a "
    "GPU. On the CPU the device's memory is the host's: the padding and the copies remain."
)


def page(results: Mapping[str, Any]) -> str:
    """Return the results as a page."""
    asked, computer = results["settings"], results["machine"]
    lines = [
        "# Features on the device, float16, execution providers",
        "",
        "Written by `python -m benchmarks.gpu`. Each row is a process with one model, without HTTP, that "
        f"answers {asked['images']} images a round under a budget of {asked['budget']}, in batches of "
        f"{asked['max_batch']} or fewer; least / median / most of {asked['rounds']} alternating rounds. "
        "The networks that the script makes have random weights and claim no accuracy. Their thresholds are "
        "those of float32 in every row. *Same* counts the images that got the same class from the same exit; "
        "a threshold is the confidence of one of the images, so rounding alone may keep that one.",
        "",
        _on_what(results),
        "",
        f"{computer['cores']} cores ({computer['cpu']}), {_threads(asked['threads'])}, ONNX Runtime "
        f"{computer['onnxruntime']}. CUDA graphs are [not used](../lab-notes.md#cuda-graphs).",
        "",
        *table(
            ["provider", "state"],
            [
                [f"`{name}`", "here" if why is None else f"**not here**: {why}"]
                for name, why in results["providers"].items()
            ],
        ),
    ]
    for name, found in results["networks"].items():
        mflops = " ".join(f"{value:,.0f}" for value in found["exit_mflops"])
        lines += ["", f"## {name}", "", f"Exits at {mflops} MFLOPs. {_shares(found['rows'])}".rstrip(), ""]
        tried = [row for row in found["rows"] if results["providers"][row["provider"]] is None]
        lines += table(_HEAD, [_cells(row, asked["images"]) for row in tried])
    return "\n".join(lines) + "\n"


def _on_what(results: Mapping[str, Any]) -> str:
    count, names = results["gpus"], results["gpu_names"]
    return f"GPU: {'; '.join(names) or count}." if count else _NO_GPU


def _threads(asked: int) -> str:
    if not asked:
        return "a thread of each model on each"
    return f"{asked} thread{'s' * (asked > 1)} a model"


def _shares(rows: list[dict[str, Any]]) -> str:
    """Say where the images of the first row that ran left."""
    first = next((row for row in rows if row["trouble"] is None), None)
    return "" if first is None else f"Images that left there: {' '.join(map(str, first['exits']))}."


def _cells(row: Mapping[str, Any], images: int) -> list[str]:
    way = [f"`{row['provider']}`", row["precision"], row["features"]]
    if row["trouble"] is not None:
        said = " ".join(row["trouble"].replace("|", "\\|").split())
        return [*way, f"**{said}**", *["–"] * (len(_HEAD) - len(way) - 1)]
    return [
        *way,
        spread(row["images_per_second"], 1),
        spread(row["over_host"], 2) if "over_host" in row else "–",
        spread(row["processor_ms"], 1),
        f"{row['load_seconds']:.1f}",
        f"{row['as_host']} of {images}" if "as_host" in row else "–",
        f"{row['as_first']} of {images}",
    ]
