"""Folders appear whole or not at all, whenever the writer dies."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.bundle import bundle_folders, read_bundle
from serving.bundle.files import read_plain_file
from serving.errors import BundleError
from serving.system import atomic
from serving.system.atomic import new_folder
from tests.bundles import tiny_bundle, tiny_segments

DIES = """
import os, signal, sys
from pathlib import Path
from serving.system import atomic
from serving.bundle import bundle
from tests.bundles import tiny_calibration, tiny_manifest, tiny_segments

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "before":
    verify = die
else:
    verify = None
    atomic.shutil.rmtree = die
bundle.write_bundle(
    Path(sys.argv[1]), tiny_manifest(), tiny_segments(seed=1), tiny_calibration(), force=True, verify=verify
)
"""


@pytest.mark.parametrize(("moment", "seed"), [("before", 0), ("after", 1)])
def test_a_killed_writer_leaves_the_old_bundle_or_the_new_one(tmp_path: Path, moment: str, seed: int) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    root = Path(__file__).parents[3]
    died = subprocess.run([sys.executable, "-c", DIES, str(folder), moment], cwd=root, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert read_bundle(folder).segment_bytes(0) == tiny_segments(seed=seed)[0]
    # What is left of the other lies in a dot folder, is never loaded, and is in nobody's way.
    assert [path.name[:6] for path in tmp_path.iterdir() if path != folder] == [".tiny."]
    assert bundle_folders(tmp_path) == [folder]
    tiny_bundle(folder, seed=2, force=True)
    assert read_bundle(folder).segment_bytes(0) == tiny_segments(seed=2)[0]


def test_replacing_works_where_folders_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    folder = tiny_bundle(tmp_path / "tiny").folder
    tiny_bundle(folder, seed=1, force=True)
    assert read_bundle(folder).segment_bytes(0) == tiny_segments(seed=1)[0]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(BundleError, match="cannot be written"),
        new_folder(tmp_path / "file" / "x", {}, replace=False),
    ):
        pytest.fail("the folder cannot exist")


def test_an_oversized_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"12345")
    assert read_plain_file(tmp_path / "big", 5) == b"12345"
    with pytest.raises(BundleError, match="has 5 bytes, more than the 4"):
        read_plain_file(tmp_path / "big", 4)
