"""A session of ONNX Runtime alone, without the engine around it."""

from typing import Any

import onnxruntime

from serving.engine.sessions import cores, share_arena


def plain_session(graph: bytes, threads: int = 0, *, arena: bool = False) -> Any:
    """Open a graph on the CPU, with threads that sleep between runs, as the engine's do.

    Args:
        graph: an ONNX file.
        threads: one for each core if 0.
        arena: take memory from the arena that all of the engine's sessions share.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    if arena:
        share_arena(options)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
