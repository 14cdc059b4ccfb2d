"""Rounds are kept as they come, and go on only beside rounds that were measured alike."""

from pathlib import Path

import pytest

from benchmarks.photo.book import Book, BookError, row_name


def test_a_run_goes_on_where_the_one_before_ended(tmp_path: Path) -> None:
    path, row = tmp_path / "deep" / "photo.json", row_name("resnet50", "int8", 64, "offramp at 50%")
    Book.open(path, {"cores": 2}).add(row, {"rate": 100.0})
    book = Book.open(path, {"cores": 2})
    assert book.has(row, 1)
    assert not book.has(row, 2)
    book.add(row, {"rate": 90.0})
    assert Book.read(path).rounds == {row: [{"rate": 100.0}, {"rate": 90.0}]}


def test_rounds_of_another_machine_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "photo.json"
    Book.open(path, {"cores": 2, "pictures": 96}).save()
    with pytest.raises(BookError, match="another cores: rounds of both"):
        Book.open(path, {"cores": 4, "pictures": 96})
