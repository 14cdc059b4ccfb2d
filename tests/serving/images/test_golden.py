"""Pixels that may not change: thresholds were fitted on them.

`golden.json` holds each file and what came of it (base64 of uint8 [H, W, 3]), or null where it is refused.
"""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from serving.errors import ImageError
from serving.images.decode import decode
from serving.images.preprocessing import Preprocessing

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
SPECS = {
    "cropped": Preprocessing(height=6, width=8, resize=8, filter="bilinear"),
    "whole": Preprocessing(height=4, width=4),
}


@pytest.mark.parametrize("how", SPECS)
@pytest.mark.parametrize("name", GOLDEN)
def test_pixels_stay_as_they_are(name: str, how: str) -> None:
    data, expected, spec = base64.b64decode(GOLDEN[name]["file"]), GOLDEN[name][how], SPECS[how]
    if expected is None:
        with pytest.raises(ImageError, match="frames"):
            decode(data, spec, 1_000_000)
        return
    pixels = np.frombuffer(base64.b64decode(expected), np.uint8).reshape(spec.height, spec.width, 3)
    np.testing.assert_array_equal(decode(data, spec, 1_000_000), pixels)
