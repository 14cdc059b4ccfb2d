"""A certificate that cannot be used is told of, and nobody waits for one."""

import os
from pathlib import Path

import pytest
import structlog

from serving.command_line import SettingsValueError
from serving.web.connection.tls import Certificate


def test_what_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("nothing")
    os.mkfifo(tmp_path / "fifo")
    for name, why in (("text", "PEM"), ("fifo", "is no regular file"), ("nothing", "No such file")):
        with pytest.raises(SettingsValueError, match=why):
            Certificate(tmp_path / name, tmp_path / name, structlog.get_logger())
