"""The instruction set by the flags that Linux lists."""

import pytest

from serving.system import processor
from serving.system.processor import best_of, instruction_set


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"], "amx"),
        (["avx2", "avx512f", "avx512_vnni", "avx512_bf16"], "avx512_bf16"),
        (["avx2", "avx512f", "avx512_vnni"], "avx512_vnni"),
        (["avx2", "avx_vnni"], "avx_vnni"),
        (["avx2"], "avx2"),
        (["fp", "asimd", "asimddp"], "neon_dot"),
        (["sse2"], None),
    ],
)
def test_the_most_capable_one_is_named(flags: list[str], expected: str | None) -> None:
    assert best_of(flags) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\nprocessor\t: 1\n", ["fpu", "avx2", "avx512f"]),
        ("Features\t: fp asimd asimddp\n", ["fp", "asimd", "asimddp"]),
        ("", []),
    ],
)
def test_the_first_processor_is_read(text: str, expected: list[str]) -> None:
    assert processor._flags(text) == expected


def test_this_machine_has_one_or_none() -> None:
    assert instruction_set() in {None, *(name for name, _ in processor._BEST_FIRST)}
