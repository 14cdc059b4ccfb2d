"""A provider that cannot work here is told from one that can, with the reason."""

import shutil
from pathlib import Path

import pytest

from benchmarks.gpu.here import CHAINS, absence, gpu_names
from serving.engine.providers import CPU, CUDA, TENSORRT


def test_a_provider_is_here_if_onnx_runtime_has_it_and_the_driver_shows_a_gpu() -> None:
    available = [TENSORRT, CUDA, CPU]
    assert [absence(name, available, gpus=1) for name in CHAINS] == [None, None, None]
    assert [absence(name, available, gpus=0) is None for name in CHAINS] == [True, False, False]
    assert absence(CUDA, available, gpus=0) == "the driver shows no NVIDIA GPU"
    assert absence(TENSORRT, [CPU], gpus=1) == "this build of ONNX Runtime does not have it"


def test_gpus_are_named_by_the_drivers_tool_if_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert gpu_names() == []
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setattr(shutil, "which", lambda name: str(tool))
    for script, names in (("echo A GPU, 580", ["A GPU, 580"]), ("echo no driver; exit 9", [])):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert gpu_names() == names
