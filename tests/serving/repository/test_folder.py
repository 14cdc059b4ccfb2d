from pathlib import Path

from serving.repository.folder import file_bytes, fingerprint, scan
from tests.serving.repository.fakes import write


def test_a_folder_of_whole_numbers_is_versioned_and_others_are_not(tmp_path: Path) -> None:
    write(tmp_path / "plain")
    for number in ("2", "10", "1"):
        write(tmp_path / "pets" / number)
    (tmp_path / "pets" / "11").mkdir()  # no manifest yet: no version yet
    (tmp_path / "pets" / ".draft").mkdir()
    write(tmp_path / "mixed" / "1")
    (tmp_path / "mixed" / "notes").mkdir()
    write(tmp_path / "padded" / "01")
    (tmp_path / "empty").mkdir()
    found = scan(tmp_path)
    assert sorted(found) == ["pets", "plain"]
    assert (found["plain"].versioned, list(found["plain"].versions)) == (False, ["1"])
    assert (found["pets"].versioned, list(found["pets"].versions)) == (True, ["1", "2", "10"])
    assert found["pets"].latest == "10"
    assert found["pets"].versions["2"] == tmp_path / "pets" / "2"


def test_the_folder_may_be_one_model_itself(tmp_path: Path) -> None:
    write(tmp_path / "pets" / "7")
    assert list(scan(tmp_path / "pets")) == ["pets"]
    assert list(scan(tmp_path / "pets" / "7")) == ["7"]


def test_a_fingerprint_changes_with_every_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "pets")
    before = fingerprint(folder)
    assert fingerprint(folder) == before
    (folder / "segment_1.onnx").write_bytes(b"1234")
    assert fingerprint(folder) != before
    assert file_bytes(folder) == 4 + (folder / "manifest.json").stat().st_size
    assert fingerprint(tmp_path / "none") == ()
