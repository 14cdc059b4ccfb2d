"""Providers: what is wanted when nothing is asked for, and what can be tried without a block of errors."""

from typing import Any

import pytest

from serving.engine.providers import CPU, CUDA, TENSORRT, listed, nvidia_gpus, wanted

GPU_BUILD = (TENSORRT, CUDA, CPU)


@pytest.mark.parametrize(
    ("asked", "available", "gpus", "expected"),
    [
        (None, GPU_BUILD, 1, (CUDA, CPU)),
        (None, GPU_BUILD, 0, (CPU,)),
        (None, (CPU,), 1, (CPU,)),
        ((), GPU_BUILD, 2, (CUDA, CPU)),
        ((CPU,), GPU_BUILD, 1, (CPU,)),
        ((CUDA,), GPU_BUILD, 0, (CUDA,)),
        ((TENSORRT, CUDA), (CPU,), 0, (TENSORRT, CUDA)),
    ],
)
def test_what_is_wanted_is_what_was_asked_for_or_else_the_gpu_that_is_there(
    asked: tuple[str, ...] | None, available: tuple[str, ...], gpus: int, expected: tuple[str, ...]
) -> None:
    assert wanted(asked, available, lambda: gpus) == expected


@pytest.mark.parametrize(
    ("names", "available", "gpus", "expected"),
    [
        ((CUDA, CPU), GPU_BUILD, 1, (CUDA, CPU)),
        ((CUDA,), GPU_BUILD, 1, (CUDA, CPU)),
        ((TENSORRT, CUDA), GPU_BUILD, 0, (CPU,)),
        ((TENSORRT, CUDA), (CUDA, CPU), 1, (CUDA, CPU)),
        ((CPU, CUDA), GPU_BUILD, 1, (CPU, CUDA)),
        (("NoSuchExecutionProvider",), GPU_BUILD, 0, (CPU,)),
        (
            ("OtherExecutionProvider", CUDA),
            ("OtherExecutionProvider", *GPU_BUILD),
            0,
            ("OtherExecutionProvider", CPU),
        ),
    ],
)
def test_only_what_can_be_tried_is_listed_and_the_cpu_is_always_there(
    names: tuple[str, ...], available: tuple[str, ...], gpus: int, expected: tuple[str, ...]
) -> None:
    assert listed(names, available, lambda: gpus) == expected


class Driver:
    def __init__(self, initialised: int, devices: int) -> None:
        self._initialised, self._devices = initialised, devices

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self._initialised

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self._devices
        return 0


@pytest.mark.parametrize(
    ("driver", "gpus"), [(Driver(0, 2), 2), (Driver(0, 0), 0), (Driver(100, 1), 0), (None, 0)]
)
def test_gpus_are_counted_by_the_driver(
    driver: Driver | None, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> Driver:
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr("ctypes.CDLL", load)
    assert nvidia_gpus() == gpus
