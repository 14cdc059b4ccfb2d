"""A file is read if it is one, and of a reasonable size."""

import os
from pathlib import Path

import pytest

from serving.system.plain_file import read_plain


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_plain(path, 5) == b"12345"
    with pytest.raises(ValueError, match="at most 4 bytes"):
        read_plain(path, 4)


def test_nobody_waits_for_something_else(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path(os.devnull)):
        with pytest.raises((ValueError, IsADirectoryError)):
            read_plain(path, 5)
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path / "nothing", 5)
