import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ImageError
from serving.images.npy import decode_npy
from serving.images.preprocessing import Preprocessing

SPEC = Preprocessing(height=4, width=5)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)


def npy(array: Any, version: tuple[int, int] = (1, 0), allow_pickle: bool = False) -> bytes:
    stream = BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), version, allow_pickle)
    return stream.getvalue()


def npy_claiming(header: str) -> bytes:
    """An `.npy` file with a header of our own writing and no pixels."""
    padded = header.encode().ljust(118)
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


def test_headers_are_parsed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real, inside, most = np.lib.format.read_array_header_1_0, list[int](), list[int]()

    def watched(stream: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)  # others would come in now
        inside.pop()
        return real(stream)

    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", watched)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: decode_npy(npy(IMAGES), SPEC, max_images=3), range(8)))
    assert most == [1] * 8
    assert all(np.array_equal(images, IMAGES) for images in found)


@pytest.mark.parametrize("array", [IMAGES, np.asfortranarray(IMAGES), IMAGES[:1]])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_pixels_come_back_bit_for_bit(array: Any, version: tuple[int, int]) -> None:
    decoded = decode_npy(npy(array, version), SPEC, max_images=3)
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", "header that cannot be read"),
        (b"not an array", "header that cannot be read"),
        (npy(IMAGES)[:40], "header that cannot be read"),
        (npy(IMAGES, (3, 0)), "found 3.0"),
        (npy(np.array([{}], dtype=object), allow_pickle=True), "pickled objects"),
        (npy(IMAGES.astype(np.float32)), "found dtype float32"),
        (npy(IMAGES.astype(np.int8)), "found dtype int8"),
        (npy(IMAGES[0]), r"found shape \[4, 5, 3\]"),
        (npy(IMAGES.transpose(0, 2, 1, 3)), r"found shape \[3, 5, 4, 3\]"),
        (npy(IMAGES[:0]), "found 0"),
        (npy(np.concatenate([IMAGES, IMAGES])), "expected 1 to 3 images, found 6"),
        (npy(IMAGES)[:-1], "promises 180 bytes of pixels, found 179"),
        (npy(IMAGES) + b"\0", "promises 180 bytes of pixels, found 181"),
        (npy_claiming("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 4, 5, 3)}"), "found -1"),
        (
            npy_claiming("{'descr': '|u1', 'fortran_order': False, 'shape': (10**99, 4, 5, 3)}"),
            "cannot be read",
        ),
        (npy_claiming("((((((((((((((((((((((((((((((((((((((((((("), "cannot be read"),
    ],
)
def test_refusals_say_what_was_found(data: bytes, names: str) -> None:
    with pytest.raises(ImageError, match=names):
        decode_npy(data, SPEC, max_images=3)


@given(st.data())
def test_broken_files_decode_or_are_image_errors(data: st.DataObject) -> None:
    whole = bytearray(npy(IMAGES))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_npy(bytes(whole[: data.draw(st.integers(0, len(whole)))]), SPEC, max_images=3)
    except ImageError:
        return
    assert decoded.shape[1:] == (4, 5, 3)
