"""Reads a batch of images from a NumPy `.npy` body, without pickles and without trusting its header."""

import threading
from io import BytesIO

import numpy as np
import numpy.typing as npt

from serving.errors import ImageError
from serving.images.preprocessing import Preprocessing

# NumPy parses a header with `ast`, which counts how deep it is once for all threads: in Python 3.11 two at a
# time may make a sound header fail (python/cpython#106905).
_PARSING = threading.Lock()


def decode_npy(data: bytes, spec: Preprocessing, max_images: int) -> npt.NDArray[np.uint8]:
    """Decode an `.npy` file (format 1.0 or 2.0) of ready-made pixels.

    Everything is checked against the header before any array exists; the array then shares the body's memory.

    Args:
        data: the file's bytes.
        spec: what the model takes; the images must have its size already.
        max_images: the most images one request may hold.

    Returns:
        uint8 [N, H, W, 3], read-only.

    Raises:
        ImageError: not an `.npy` file, another dtype or shape (pickled objects among them), no images or
            too many, bytes missing or left over.
    """
    stream = BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise ImageError(f"expected .npy format 1.0 or 2.0, found {version[0]}.{version[1]}")
        with _PARSING:
            shape, fortran_order, dtype = readers[version](stream)
    except ImageError:
        raise
    except Exception as error:  # The header is a Python literal: NumPy's parser fails in many ways.
        raise ImageError(f"expected an .npy file, found a header that cannot be read: {error}") from error
    expected = f"uint8 [N, {spec.height}, {spec.width}, 3]"
    if dtype.hasobject:
        raise ImageError(f"expected {expected}, found pickled objects, which are never loaded")
    if dtype != np.uint8:
        raise ImageError(f"expected {expected}, found dtype {dtype}")
    if len(shape) != 4 or shape[1:] != (spec.height, spec.width, 3):
        raise ImageError(f"expected {expected}, found shape {list(shape)}")
    if not 1 <= shape[0] <= max_images:
        raise ImageError(f"expected 1 to {max_images} images, found {shape[0]}")
    promised, found = shape[0] * spec.height * spec.width * 3, len(data) - stream.tell()
    if found != promised:
        raise ImageError(f"the header promises {promised} bytes of pixels, found {found}")
    flat = np.frombuffer(data, dtype=np.uint8, offset=stream.tell())
    return np.ascontiguousarray(flat.reshape(shape, order="F" if fortran_order else "C"))
