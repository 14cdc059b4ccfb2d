"""Files that are what they seem, and folders that appear whole or not at all."""

import os
import stat
from pathlib import Path

from serving.errors import BundleError


def read_plain_file(path: Path, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes` that no link leads to or from.

    Raises:
        BundleError: missing, a link of either kind, not a regular file, or too large; names no bundle.
    """
    # Everything is asked of the open file, so it cannot be swapped between the check and the read.
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        if path.is_symlink():
            raise BundleError("is a symbolic link; put the file itself there")
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise BundleError("is missing; write the bundle again or copy it whole") from error
    except OSError as error:
        raise BundleError(f"cannot be opened ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BundleError("is not a regular file")
        if status.st_nlink > 1:
            raise BundleError(f"is a hard link (the file has {status.st_nlink} names); copy it instead")
        if status.st_size > max_bytes:
            raise BundleError(f"has {status.st_size} bytes, more than the {max_bytes} expected at most")
        return file.read(max_bytes)
