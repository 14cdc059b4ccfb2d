"""Files that are what they seem, and folders that appear whole or not at all."""

import ctypes
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serving.errors import BundleError

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD


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


@contextmanager
def new_folder(target: Path, files: Mapping[str, bytes], *, replace: bool) -> Iterator[Path]:
    """Write `files` to a dot folder beside `target`; it becomes `target` when the block ends well.

    Killed at any moment, `target` is the old folder or the new one. A dot folder that a kill leaves behind is
    never loaded and may be deleted.

    Raises:
        BundleError: `target` exists and `replace` is false.
    """
    if target.exists() and not replace:
        raise BundleError(f"{target} exists already")
    draft = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror}; choose another folder") from error
    try:
        for name, data in files.items():
            with (draft / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync_folder(draft)
        yield draft
        _put_in_place(draft, target)
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put_in_place(draft: Path, target: Path) -> None:
    if not target.exists():
        draft.rename(target)
    elif not _exchange(draft, target):
        # Without renameat2 there is an instant with no `target`; the old folder is still whole beside it.
        old = draft.with_name(draft.name + ".old")
        target.rename(old)
        draft.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step (Linux); False where the system cannot."""
    swap = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    return swap is not None and swap(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
