"""One memory arena for the sessions of all models in the process.

Without one, every run of a stage gets the pages of its outputs from the system and gives them back: on two
Zen 3 cores that cost 15% of MSDNet-7's processor time in page faults. An arena per session keeps the largest
batch of each for good; sessions take turns, so one that all share is smaller than either
(docs/decisions/0007-one-arena-for-all-sessions.md).
"""

import os
from functools import cache
from typing import Any

# Linux builds of ONNX Runtime phone home since 1.29 unless told otherwise before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


def share_arena(options: Any) -> None:
    """Let a session with these `onnxruntime.SessionOptions` take its memory on the CPU from the arena."""
    _register()
    options.add_session_config_entry("session.use_env_allocators", "1")


@cache
def _register() -> None:
    """Make the arena, once; ONNX Runtime keeps it as long as the process lives."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(0, -1, -1, -1))
