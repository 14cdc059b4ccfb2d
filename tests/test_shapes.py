"""Annotated shapes are checked in tests, and in tests alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from serving.policy.plan import exits_taken
from training.methods.fusion import fuse

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = """
import sys
import numpy as np
from serving.policy.plan import exits_taken
print(exits_taken(np.zeros((2, 3)), np.ones(4)).tolist(), "beartype" in sys.modules)
"""


def test_an_array_of_a_wrong_shape_or_type_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="thresholds"):
        exits_taken(np.zeros((2, 3)), np.ones(4))
    with pytest.raises(TypeCheckError, match="score"):
        exits_taken(np.zeros((2, 3), np.float32), np.ones(3))


def test_a_tensor_of_a_wrong_shape_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="weights"):
        fuse(torch.zeros(2, 4), torch.zeros(3, 1))


def test_outside_tests_nothing_is_checked() -> None:
    done = subprocess.run([sys.executable, "-c", OUTSIDE], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[2, 2] False\n", "")
