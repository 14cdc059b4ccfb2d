"""The result of an export as a table: costs, accuracies, file sizes, and remarks."""

from rich.console import Console
from rich.table import Table

from training.exporting.export import Exported
from training.exporting.selection import show


def show_exported(exported: Exported, console: Console) -> None:
    """Print what every exit costs and gets right, and what was found on the way."""
    bundle = exported.bundle
    manifest, in_float = bundle.manifest, bundle.manifest.float_validation_accuracy
    columns = ["exit", "MFLOPs", *(["float %"] if in_float else []), f"{manifest.precision} %", "file KB"]
    table = Table(*columns, title=f"{bundle.name}, accuracy on validation images")
    for index, flops in enumerate(manifest.exit_flops):
        held_against = [f"{100 * in_float[index]:.2f}"] if in_float else []
        accuracy = manifest.segments[index].validation_accuracy
        size = bundle.segment_path(index).stat().st_size
        table.add_row(
            str(index + 1), f"{flops / 1e6:.2f}", *held_against, f"{100 * accuracy:.2f}", f"{size / 1e3:,.0f}"
        )
    console.print(table)
    if exported.exits is not None:
        console.print(str(exported.exits), highlight=False)
    if manifest.precision == "int8":
        console.print(f"kept in float to save accuracy: {', '.join(exported.kept) or 'nothing'}")
    show(exported.selection, console)
    console.print(
        f"largest difference of float32 from torch on {exported.difference.images} validation images: "
        f"{exported.difference.largest:.1e}"
    )
