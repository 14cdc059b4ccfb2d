"""The page: the best of several ways, neighbouring rounds divided, and processor time decides."""

from pathlib import Path

from benchmarks.photo.book import Book, row_name
from benchmarks.photo.page import page

MACHINE = {"cores": 2, "cpu": "a CPU", "has": ["avx2"], "onnxruntime": "1.31"}
MORE = {"cores": 1.9, "foreign_cores": 0.0, "p50_ms": 5.0, "p99_ms": 9.0, "resident_mb": 300.0}


def book() -> Book:
    made = Book(Path("photo.json"), {"machine": MACHINE, "pictures": 96, "picture_kb": 95.1})
    made.networks["resnet50 / int8"] = {
        "exit_mflops": [793.0, 4104.0],
        "exit_shares": {"50": [0.6, 0.4]},
        "decode_ms": 2.0,
    }
    for who, rates, cpu in (
        ("offramp at 50%", (90, 150), (20, 11)),
        ("offramp --processes 2 at 50%", (100, 160), (20, 10)),
        ("offramp at 100%", (500, 500), (1, 1)),
        ("mosec, 2 workers, 1 thread", (50, 100), (30, 20)),
        ("fastapi, 1 thread", (40, 80), (40, 30)),
    ):
        made.rounds[row_name("resnet50", "int8", 64, who)] = [
            {"rate": float(rate), "cpu_ms": float(ms), **MORE} for rate, ms in zip(rates, cpu, strict=True)
        ]
    made.rounds[row_name("resnet50", "int8", None, "raw side by side at 50%")] = [
        {"rate": 200.0, "cpu_ms": 8.0},
        {"rate": 200.0, "cpu_ms": 8.0},
    ]
    return made


def line(text: str, start: str) -> list[str]:
    (found,) = (row for row in text.splitlines() if row.startswith(f"| {start}"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_our_best_is_held_against_the_best_peer_round_by_round() -> None:
    _, bound, rates, processor, verdict = line(page(book()), "ResNet-50 int8 at 50% / best")
    assert (bound, rates) == ("≥ 1.5", "1.60 / 1.80 / 2.00")
    assert (processor, verdict) == ("1.50 / 1.75 / 2.00", "met")


def test_the_floor_has_the_decoding_of_the_same_pictures_in_it() -> None:
    _, _, rates, processor, verdict = line(page(book()), "ResNet-50 int8 at 50% / raw floor")
    floor = 1 / (1 / 200 + 0.002 / 2)
    assert rates == f"{100 / floor:.2f} / {130 / floor:.2f} / {160 / floor:.2f}"
    assert (processor, verdict) == ("0.50 / 0.75 / 1.00", "**missed**")


def test_bf16_counts_for_its_own_target_alone() -> None:
    made = book()
    for who, rate in (
        ("offramp at 50%", 60),
        ("offramp --inference-precision bf16 at 50%", 150),
        ("mosec", 40),
    ):
        made.rounds[row_name("resnet50", "float32", 64, who)] = [{"rate": rate, "cpu_ms": 600 / rate, **MORE}]

    text = page(made)

    assert line(text, "ResNet-50 float at 50% / best")[2:] == [
        "1.50 / 1.50 / 1.50",
        "1.50 / 1.50 / 1.50",
        "**missed**",
    ]
    assert line(text, "ResNet-50 in bf16")[2:] == ["3.75 / 3.75 / 3.75", "3.75 / 3.75 / 3.75", "met"]


def test_what_was_not_measured_says_so() -> None:
    assert line(page(book()), "MobileNetV3-large")[2:] == ["not measured", "not measured", ""]


def test_every_row_is_shown() -> None:
    text = page(book())
    assert line(text, "mosec")[1:4] == ["64", "50.0 / 75.0 / 100.0", "20.0 / 25.0 / 30.0"]
    assert "793.0, 4104.0 MFLOPs" in text
    assert "50%: 0.60, 0.40" in text
