"""Files and folders that appear whole or not at all."""

import ctypes
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from serving.errors import BundleError

try:
    import fcntl
except ImportError:  # Windows
    _LOCKS = False
else:
    _LOCKS = True

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD
_DRAFT_FOLDER = re.compile(r"[0-9a-f]{8}")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path`, which it replaces when the block ends well.

    Killed at any moment, `path` is the old file or the new one, whole.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    _remove_drafts_of(path)
    try:
        with draft.open("wb") as file:
            yield file
            _sync(file)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Replace a file so that it holds either the old data or the new, whole; text is written as UTF-8.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def new_folder(target: Path, files: Mapping[str, bytes], *, replace: bool) -> Iterator[Path]:
    """Write `files` to a dot folder beside `target`; it becomes `target` when the block ends well.

    Killed at any moment, `target` is the old folder or the new one. A dot folder that a kill leaves behind is
    never loaded; the next one who writes to `target` deletes it.

    Raises:
        BundleError: `target` exists and `replace` is false, or the files cannot be written.
    """
    if target.exists() and not replace:
        raise BundleError(f"{target} exists already")
    _remove_folders_beside(target)
    draft = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        draft.mkdir(parents=True)
        with locked(draft):
            _write(draft, files)
            yield draft
            _put_in_place(draft, target)
            _sync_folder(target.parent)
    except OSError as error:
        raise BundleError(
            f"{target} cannot be written: {error.strerror or error}; make room, or choose another folder"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone, until the block or the process ends; for who asks in this way.

    Raises:
        BlockingIOError: another process, or another part of this one, holds it.
        OSError: it cannot be opened.
    """
    if not _LOCKS:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        with (folder / name).open("xb") as file:
            file.write(data)
            _sync(file)
    _sync_folder(folder)


def _remove_drafts_of(path: Path) -> None:
    """Delete drafts of a file whose writers were killed."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*.draft"):
        number = draft.name.removesuffix(".draft").rpartition(".")[2]
        if number.isdigit() and int(number) != os.getpid() and not _is_running(int(number)):
            draft.unlink(missing_ok=True)


def _remove_folders_beside(target: Path) -> None:
    """Delete drafts of a folder that no one holds: their writers were killed."""
    start = f".{target.name}."
    for draft in target.parent.glob(f"{glob.escape(start)}*"):
        if not _DRAFT_FOLDER.fullmatch(draft.name.removeprefix(start)) or draft.is_symlink():
            continue
        with suppress(OSError), locked(draft):
            shutil.rmtree(draft, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


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


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
