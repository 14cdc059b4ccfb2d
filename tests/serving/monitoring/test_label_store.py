"""Answers that labels may come for: what is kept, how long, over a restart, and a file that is none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from serving.monitoring.label_store import FILE, LabelStore, NotedAnswer
from tests.serving.fakes import Clock

DAY = 24 * 60 * 60
Make = Callable[..., LabelStore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Iterator[Make]:
    stores = []

    def made(folder: Path | None = None, keep: int = 100) -> LabelStore:
        logger = structlog.get_logger()
        stores.append(LabelStore(folder, keep=keep, keep_seconds=7 * DAY, logger=logger, clock=clock))
        return stores[-1]

    yield made
    for store in stores:
        store.close()


def answer(number: int, image: int = 0, exit_number: int = 1) -> NotedAnswer:
    return NotedAnswer("b", f"r{number}", image, exit_number, class_index=2, budget_flops=100.0)


def write(store: LabelStore) -> None:
    with store.transaction():
        pass


def test_an_answer_is_found_by_its_bundle_request_and_image(make: Make) -> None:
    store = make()
    store.note([answer(1), answer(1, image=1, exit_number=3)])
    write(store)
    assert store.find("b", "r1", 1) == answer(1, image=1, exit_number=3)
    assert store.find("other", "r1", 1) is None
    assert store.find("b", "r1", 2) is None


def test_the_last_exits_class_may_come_before_the_answer_is_noted(make: Make) -> None:
    store = make()
    store.note_final("r1", 0, 3)
    write(store)
    store.note([answer(1)])
    store.note_final("r2", 0, 1)
    write(store)
    found = store.find("b", "r1", 0)
    assert found is not None
    assert found.final == 3
    write(store)  # r2 is tried once more, and then let go
    store.note([answer(2)])
    write(store)
    late = store.find("b", "r2", 0)
    assert late is not None
    assert late.final is None


def test_only_the_latest_answers_are_kept_and_only_for_so_long(make: Make, clock: Clock) -> None:
    store = make(keep=10)
    for number in range(25):
        store.note([answer(number)])
        write(store)
    kept = [number for number in range(25) if store.find("b", f"r{number}", 0) is not None]
    assert kept == list(range(15, 25))
    clock.now += 7 * DAY + 1
    assert store.find("b", "r24", 0) is None
    write(store)
    clock.now -= 7 * DAY
    assert store.find("b", "r24", 0) is None


def test_all_survives_a_restart(make: Make, tmp_path: Path) -> None:
    store = make(tmp_path / "state")
    store.note([answer(1), answer(2)])
    with store.transaction():
        store.set_label("r1", 0, 2)
        store.set_label("r2", 0, 0)
        store.set_state("b", {"a": [1.5]})
    store.close()
    again = make(tmp_path / "state")
    found = again.find("b", "r1", 0)
    assert found is not None
    assert found.label == 2
    assert again.by_exit("b") == {1: (2, 1)}
    assert again.state("b") == {"a": [1.5]}
    assert again.state("other") is None


def test_nothing_of_a_transaction_that_fails_is_written(make: Make) -> None:
    store = make()
    store.note([answer(1)])

    def half_done() -> None:
        with store.transaction():
            store.set_label("r1", 0, 2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    assert store.by_exit("b") == {}
    assert store.find("b", "r1", 0) == answer(1)


@pytest.mark.parametrize("content", [b"no database at all, but some text", b"\0" * 4096])
def test_a_file_that_is_none_is_named_and_left_alone(make: Make, tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with capture_logs() as logged:
        store = make(tmp_path)
    assert [entry["event"] for entry in logged] == ["labels_unusable"]
    assert (tmp_path / FILE).read_bytes() == content
    store.note([answer(1)])
    write(store)
    assert store.find("b", "r1", 0) is not None
