"""The command: a real process, killed and resumed, and a user's mistakes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from serving.classify import main
from tests.bundles import tiny_bundle
from tests.serving.bulk.sources import as_folder, as_parquet, as_tar, pngs

# Kills its own process, as the kernel would, when a given shard has been written but for its last step.
KILLED = """
import os, signal, sys
from pathlib import Path
replace, calls = Path.replace, 0
def counted(self, target):
    global calls
    calls += str(target).endswith(".parquet")
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = counted
from serving.classify import main
sys.exit(main(sys.argv[2:]))
"""
COUNT = 1100  # two shards


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("classify")
    tiny_bundle(place / "tiny")
    as_parquet(place / "source.parquet", pngs(COUNT, broken=(5, 1050)), group_rows=500)
    assert main(words(place, place / "whole.parquet")) == 0
    return place


def words(place: Path, out: Path, *more: str, source: str = "source.parquet") -> list[str]:
    given = ["--bundle", str(place / "tiny"), "--budget-total", "50%", "--threads", "1", "--out", str(out)]
    return [str(place / source), *given, *more]


@pytest.mark.parametrize("write", [2, 3])  # the second shard, and the output itself
def test_killed_and_resumed_the_output_is_the_same(place: Path, tmp_path: Path, write: int) -> None:
    out = tmp_path / "answers.parquet"
    started = [sys.executable, "-c", KILLED, str(write), *words(place, out)]
    killed = subprocess.run(
        started, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    assert len(list((tmp_path / "answers.parquet.parts").glob("[0-9]*.parquet"))) == write - 1

    assert main(words(place, out, "--resume")) == 0

    assert pq.read_table(out).equals(pq.read_table(place / "whole.parquet"))
    assert list(tmp_path.iterdir()) == [out]


def test_the_summary_adds_up(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(place, tmp_path / "a.parquet", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["errors"]) == (COUNT, 2)
    assert sum(said["exits"].values()) == COUNT - 2
    assert said["total_flops"] - 7000 < said["flops"] <= said["total_flops"]
    assert main(words(place, tmp_path / "a.parquet", "--resume")) == 0
    assert "is complete already" in capsys.readouterr().err


def test_people_get_lines(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_folder(tmp_path / "few", pngs(10))
    (tmp_path / "few" / "notes.txt").write_text("x")
    out = tmp_path / "a.parquet"
    given = [str(tmp_path / "few"), "--bundle", str(place / "tiny"), "--out", str(out)]
    assert main([*given, "--budget", "3000FLOPs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines[:-1]] == [
        "rows",
        "files",
        "exits",
        "cost",
        "budget",
        "time",
    ]
    assert lines[0] == "rows     10, of them 0 with an error"
    assert lines[-1] == str(out)


def test_where_no_image_is_answered_the_status_is_1(place: Path, tmp_path: Path) -> None:
    as_tar(tmp_path / "a.tar", [b"no image"] * 3)
    given = [str(tmp_path / "a.tar"), "--bundle", str(place / "tiny"), "--out", str(tmp_path / "a.parquet")]
    assert main(given) == 1
    assert pq.read_table(tmp_path / "a.parquet").column("error").null_count == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--out": "whole.parquet"}, "exists already; choose another, go on by --resume"),
        ({"--out": "a.csv"}, "expected a name that ends in .parquet, found 'a.csv'"),
        ({"--out": "none/a.parquet"}, "there is no folder"),
        ({"--bundle": "source.parquet"}, "expected a folder that holds manifest.json; found a file"),
        ({"--bundle": "none"}, "expected a folder that holds manifest.json; found nothing"),
        ({"SOURCE": "none"}, "no such file or folder"),
        ({"--budget": "1FLOPs"}, "is under the cheapest exit"),
        ({"--budget": "8ms"}, "--budget 8ms is a time, which is measured anew at every start"),
        ({"--budget-total": "8s"}, "is a time, and no stage was timed here"),
        ({"--budget-total": "1FLOPs"}, "--budget-total for 1,100 images"),
        ({"--budget-total": "50%", "--budget": "50%"}, "--budget-total goes with neither"),
        ({"--max-drop": "2"}, "--max-drop: Input should be less than 1"),
        ({"--column": "label"}, "expected a column 'label' of bytes"),
        ({"--keep": "label,nothing"}, "--keep: expected a column 'nothing' once"),
        ({"--ray-workers": "2"}, "--ray-address and --ray-workers go with --ray"),
    ],
)
def test_a_mistake_is_a_line_and_nothing_is_written(
    place: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], said: str
) -> None:
    before = sorted(place.iterdir())
    given = {"SOURCE": "source.parquet", "--bundle": "tiny", "--out": "a.parquet"} | changes
    paths = {
        name: str(place / text) if name in ("SOURCE", "--bundle", "--out") else text
        for name, text in given.items()
    }
    source = paths.pop("SOURCE")
    assert main([source, *(word for pair in paths.items() for word in pair)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert sorted(place.iterdir()) == before


def test_without_pyarrow_the_extra_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("serving.classify.find_spec", lambda name: None)
    assert main(words(place, place / "a.parquet")) == 2
    assert "pip install 'offramp[bulk]'" in capsys.readouterr().err


def test_columns_are_kept_by_name(place: Path, tmp_path: Path) -> None:
    assert main(words(place, tmp_path / "a.parquet", "--keep", "label")) == 0
    assert pq.read_table(tmp_path / "a.parquet").column("label").to_pylist() == list(range(COUNT))


def test_without_ray_the_extra_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("serving.distributed.cluster.find_spec", lambda name: None)
    assert main(words(place, place / "a.parquet", "--ray")) == 2
    assert "pip install 'offramp[ray]'" in capsys.readouterr().err
    assert not (place / "a.parquet").exists()
    assert not (place / "a.parquet.parts").exists()
