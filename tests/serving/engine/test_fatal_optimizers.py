"""Graphs on which ONNX Runtime would end the process are opened without the optimiser that does it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.engine.fatal_optimizers import fatal_optimizers

OPEN = """
import sys
from pathlib import Path
from serving.engine.providers import CPU
from serving.engine.sessions import open_session

open_session(Path(sys.argv[1]).read_bytes(), 1, [CPU])
"""


def product(dtype: int, *, inside: int | None = None, transposed: bool = True) -> bytes:
    """Rows [N, 1, 8], transposed to [1, N, 8], times ones; cast in between where `inside` differs."""
    computed = dtype if inside is None else inside
    turned = (
        helper.make_node("Transpose", ["x"], ["rows"], perm=[1, 0, 2])
        if transposed
        else helper.make_node("Reshape", ["x", "shape"], ["rows"])
    )
    nodes = [
        turned,
        helper.make_node("Cast", ["rows"], ["cast"], to=computed),
        helper.make_node("MatMul", ["cast", "ones"], ["y"]),
    ]
    constants = {
        "ones": np.ones((8, 4), helper.tensor_dtype_to_np_dtype(computed)),
        "shape": np.array([1, -1, 8], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", dtype, ["N", 1, 8])],
        [helper.make_tensor_value_info("y", computed, [1, "N", 4])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    file: bytes = model.SerializeToString()
    return file


def test_transposed_float16_that_is_multiplied_goes_without_the_blocked_layout() -> None:
    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    for graph in (product(half), product(half, inside=single), product(single, inside=half)):
        assert fatal_optimizers(graph) == ["NchwcTransformer"]
    for graph in (product(single), product(half, transposed=False), b"Transpose MatMul"):
        assert fatal_optimizers(graph) == []


@pytest.mark.parametrize("inside", [TensorProto.FLOAT16, TensorProto.FLOAT])
def test_such_a_graph_is_opened(inside: int, tmp_path: Path) -> None:
    """In a process of its own, which ONNX Runtime would end."""
    file = tmp_path / "product.onnx"
    file.write_bytes(product(TensorProto.FLOAT16, inside=inside))
    ended = subprocess.run([sys.executable, "-c", OPEN, str(file)], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
