"""Gives back what the arena of all sessions keeps and no session needs, once a model is gone."""

from functools import cache
from typing import Any

import numpy as np
import onnx

from serving.engine.providers import CPU
from serving.engine.sessions import open_strictly, shrinking_run_options


def shrink_arena() -> None:
    """Return the regions of the arena that are free to the C library; takes some milliseconds.

    ONNX Runtime does it at the end of a run that asks for it. Any session on the arena will do, so it is a
    graph of one operator, whose session stays open.
    """
    _session().run(None, {"x": np.zeros(1, np.float32)}, shrinking_run_options())


@cache
def _session() -> Any:
    given, made = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "idle", [given], [made])
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return open_strictly(model.SerializeToString(), [CPU])
