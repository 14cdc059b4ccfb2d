"""The figure is a PNG with what was measured in it."""

from pathlib import Path

from PIL import Image

from training.evaluation.curves import Point
from training.evaluation.plots import accuracy_over_flops


def test_a_figure_is_drawn_without_a_screen(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    curve = [Point(1e6, 1e6, 0.5, (1.0, 0.0)), Point(2e6, 1.9e6, 0.8, (0.1, 0.9))]
    accuracy_over_flops(
        path,
        "digits, test",
        {"alone": [1_000_000, 2_000_000], "cut": [1_000_000, 1_800_000]},
        [0.5, 0.8],
        curve,
    )
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(maxcolors=image.width * image.height) or []) > 10
