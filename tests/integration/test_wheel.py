"""The wheel in an environment of its own, in a folder with packages of the same names as its own."""

import json
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from benchmarks.browser import browser, drop, watched
from tests.bundles import tiny_bundle
from tests.chromium import IN_CHROMIUM

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("offramp-*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a new environment with the wheel; dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    # The path alone: the .pth files in there, an editable installation's among them, are not read.
    paths = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (Path(paths.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["install", "--no-deps", "--no-index", "--quiet", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    return folder / "bin"


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder with packages of the user's own, and no bundle."""
    for name in ("serving", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    return tmp_path


def ran(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(*words: str | Path, cwd: Path, log: Path) -> Iterator[dict[str, Any]]:
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*words, "--port", "0"],
            cwd=cwd,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_it_holds_the_packages_their_types_and_a_small_bundle(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"{package}/py.typed" for package in ("offramp", "serving", "training")} <= names
    assert "serving/samples/cifar10-ladder-int8/manifest.json" in names
    assert {f"serving/web/api_page/{name}" for name in ("page.html", "start.js")} <= names
    assert "serving/samples/cifar10-ladder-int8/samples.npz" in names
    static = "serving/web/console/static/"
    assert {static + name for name in ("index.html", "app.js", "uplot.js", "uplot.LICENSE.txt")} <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "offramp",
        "serving",
        "training",
    }
    assert wheel.stat().st_size < 3_000_000


@pytest.mark.parametrize("command", ["serve", "check", "fit", "export"])
def test_commands_start_in_a_crowded_folder(command: str, programs: Path, crowded: Path) -> None:
    assert ran(programs / "offramp", command, "--help", cwd=crowded).startswith(f"usage: offramp {command}")


def test_the_old_names_of_the_programs_still_work(programs: Path, crowded: Path) -> None:
    for name in ("offramp-serve", "offramp-check"):
        assert "--help" in ran(programs / name, "--help", cwd=crowded)


def test_a_python_session_in_a_crowded_folder_classifies_an_array(programs: Path, crowded: Path) -> None:
    tiny_bundle(crowded / "tiny")
    script = (
        "import numpy, offramp\n"
        "with offramp.Model.load('tiny') as model:\n"
        "    print(len(model.classify(numpy.zeros((2, 8, 8, 3), numpy.uint8), budget='50%')))\n"
        "print(offramp.__file__)\n"
    )
    count, place = ran(programs / "python", "-c", script, cwd=crowded).splitlines()
    assert count == "2"
    assert Path(place).is_relative_to(programs.parent)


def test_a_server_without_a_bundle_answers_by_the_sample_and_says_so(
    programs: Path, crowded: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    image = (ROOT / "docs" / "images" / "horse.png").read_bytes()
    with served(programs / "offramp", "serve", cwd=crowded, log=log) as listening:
        request = urllib.request.Request(  # noqa: S310 - of this machine
            f"{listening['url']}/classify?budget=100%25", image, {"Content-Type": "image/png"}
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310
            answer = json.load(response)

    assert listening["models"] == ["cifar10-ladder-int8"]
    assert answer["class_name"] == "horse"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    (said,) = [event for event in events if event["event"] == "sample_bundles"]
    assert said["reason"] == "no --models, and no folder 'exported_models' here"


@IN_CHROMIUM
def test_its_console_answers_an_image_in_a_folder_without_a_bundle(
    programs: Path, crowded: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    with (
        served(programs / "offramp", "serve", cwd=crowded, log=log) as listening,
        browser() as started,
        watched(started, listening["url"]) as seen,
    ):
        drop(seen.page, ROOT / "docs" / "images" / "horse.png")
        expect(seen.page.locator(".said")).to_contain_text("horse")
        expect(seen.page.locator(".samples .thumb")).to_have_count(16)
        assert seen.errors + seen.foreign == []
