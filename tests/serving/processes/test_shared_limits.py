import pytest

from serving.processes.shared_limits import SharedBuckets


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_two_processes_take_from_one_bucket() -> None:
    clock, table = Clock(), SharedBuckets.create()
    one, two = (SharedBuckets(table.descriptor).bucket("ann requests", 4.0, 1.0, clock) for _ in range(2))
    assert [one.take(1.0) for _ in range(3)] == [0.0] * 3
    assert two.take(1.0) == 0.0
    assert two.take(1.0) == one.take(1.0) == pytest.approx(0.25)
    clock.seconds += 0.5
    assert [two.take(1.0), one.take(1.0)] == [0.0, 0.0]
    assert one.take(1.0) == pytest.approx(0.25)
    two.give_back(1.0)
    assert one.take(1.0) == 0.0


def test_other_names_and_other_limits_are_other_buckets() -> None:
    clock, table = Clock(), SharedBuckets.create()
    first = table.bucket("ann requests", 1.0, 1.0, clock)
    assert first.take(1.0) == 0.0
    assert first.take(1.0) > 0
    assert table.bucket("bob requests", 1.0, 1.0, clock).take(1.0) == 0.0
    assert table.bucket("ann requests", 2.0, 1.0, clock).take(1.0) == 0.0
    assert table.bucket("ann requests", 1.0, 1.0, clock).take(1.0) > 0  # the same one again


def test_more_than_a_bucket_holds_is_a_debt_and_more_than_it_lost_is_not_given_back() -> None:
    clock, table = Clock(), SharedBuckets.create()
    bucket = table.bucket("ann flops", 10.0, 0.0, clock)
    assert bucket.take(25.0) == 0.0
    assert bucket.take(1.0) == pytest.approx(1.6)
    bucket.give_back(100.0)
    assert bucket.take(10.0) == 0.0
    assert bucket.take(10.0) == pytest.approx(1.0)


def test_a_full_table_leaves_buckets_to_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.processes.shared_limits.MOST_BUCKETS", 2)
    clock, table = Clock(), SharedBuckets.create()
    full = [table.bucket(name, 1.0, 1.0, clock) for name in ("a", "b", "c")]
    assert [bucket.take(1.0) for bucket in full] == [0.0] * 3
    assert table.bucket("a", 1.0, 1.0, clock).take(1.0) > 0
    assert table.bucket("c", 1.0, 1.0, clock).take(1.0) == 0.0
