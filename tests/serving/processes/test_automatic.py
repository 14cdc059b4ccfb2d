import pytest

from serving.processes.automatic import CHEAP_SECONDS, process_count

GB = 2**30


@pytest.mark.parametrize(
    ("cores", "image_seconds", "memory", "each", "expected"),
    [
        (1, 0.001, None, None, 1),
        (2, 0.001, None, None, 2),
        (64, CHEAP_SECONDS, None, None, 64),
        (2, 0.08, None, None, 1),  # a lone request gets both cores
        (8, 0.08, None, None, 1),
        (64, 0.08, None, None, 8),
        (64, 0.011, None, None, 8),
        (16, 0.001, 8 * GB, GB, 5),
        (16, 0.001, GB, 2 * GB, 1),
    ],
)
def test_cheap_networks_get_a_process_for_each_core_and_others_as_many_as_python_needs(
    cores: int, image_seconds: float, memory: int | None, each: int | None, expected: int
) -> None:
    found = process_count(cores, image_seconds, memory_bytes=memory, process_bytes=each)
    assert found == expected


def test_a_slower_interpreter_asks_for_more_processes() -> None:
    assert process_count(64, 0.02, python_seconds=0.005) == 26
