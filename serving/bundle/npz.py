"""Plain arrays in an npz file: written so that the same arrays give the same bytes, read without trust."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import BundleError

Array = npt.NDArray[Any]


def to_npz(arrays: Mapping[str, Array]) -> bytes:
    """Return arrays as an npz file, in their order."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, values in arrays.items():
            # A fixed date (ZipInfo's default): the same arrays give the same bytes and the same checksum.
            entry = zipfile.ZipInfo(name + ".npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as member:
                np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)
    return target.getvalue()


def from_npz(data: bytes, max_bytes: int) -> dict[str, Array]:
    """Read an npz file without ever unpickling, and without unpacking more than `max_bytes`.

    Raises:
        BundleError: not an npz file, too large, or damaged; the text names no bundle.
    """
    try:
        return _read_npz(data, max_bytes)
    except Exception as error:  # Hostile bytes make zipfile, zlib and NumPy's parser fail in many ways.
        raise BundleError(f"not a readable npz file of plain arrays ({error}); write it again") from error


def expect(name: str, values: Array, dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array of another type or shape.

    Raises:
        BundleError: names the array, what was expected and what was found.
    """
    if values.dtype != dtype or values.shape != shape:
        raise BundleError(
            f"{name} must be {np.dtype(dtype).name} {list(shape)}; "
            f"found {values.dtype.name} {list(values.shape)}"
        )


def _read_npz(data: bytes, max_bytes: int) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked_bytes = sum(member.file_size for member in archive.infolist())
        if unpacked_bytes > max_bytes:
            raise ValueError(f"it unpacks to {unpacked_bytes} bytes, over the limit of {max_bytes}")
        for member in archive.infolist():
            with archive.open(member) as stream:
                # zipfile stops at the size stated in the directory, so this cannot outgrow the sum above.
                arrays[member.filename.removesuffix(".npy")] = _read_npy(stream.read())
    return arrays


def _read_npy(data: bytes) -> Array:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in header:
        raise ValueError(f"npy version {version}, expected 1.0 or 2.0")
    shape, fortran_order, dtype = header[version](stream)
    # numpy allocates what the header claims before it reads: the claim has to be true first.
    if dtype.hasobject:
        raise ValueError("an array of pickled objects, expected numbers")
    if (
        int(np.prod([int(size) for size in shape], dtype=object)) * dtype.itemsize
        != len(data) - stream.tell()
    ):
        raise ValueError(f"an array whose header claims {dtype} {shape}, which does not fit its bytes")
    values = np.frombuffer(data, dtype=dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if fortran_order else "C")
