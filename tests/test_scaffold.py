"""The checkout itself: what is tracked and locked, what the commands run, what the image is built from."""

import json
import re
import shlex
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from serving.settings import Settings

ROOT = Path(__file__).parents[1]
# Split so that this file does not match itself.
ADDRESSES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "download.py" + "torch.org",
    "index" + "-url",
    "find" + "-links",
]
PLACES = ["/wor" + "k/", "../sha" + "red"]


@cache
def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)  # noqa: S607
    if listing.returncode != 0:
        pytest.skip("not a git checkout: nothing is tracked here")
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def commands(target: str) -> str:
    """What `make target` would run, without running it."""
    dry = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    return dry.stdout


@pytest.mark.parametrize("forbidden", ADDRESSES + PLACES)
def test_no_tracked_file_names_a_registry_or_a_place_of_one_machine(forbidden: str) -> None:
    allowed = {ROOT / ".ci" / "run"} if forbidden == PLACES[1] else set()
    named = [path for path in tracked() if path not in allowed and forbidden.encode() in path.read_bytes()]
    assert named == []


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.+!]+", line) for line in pins)
    assert pins == sorted(pins)
    return dict(line.split("==") for line in pins)


def declared() -> list[Requirement]:
    """What pyproject.toml asks for on x86-64 Linux, where the lock is made."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    platform = {"platform_machine": "x86_64", "sys_platform": "linux"}
    asked = [Requirement(line) for line in lines]
    return [one for one in asked if one.marker is None or one.marker.evaluate(platform)]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_the_lock_covers_what_pyproject_asks_for(requirement: Requirement) -> None:
    version = locked().get(canonicalize_name(requirement.name))
    assert version is not None, "run `make lock`"
    assert requirement.specifier.contains(version)


def test_lint_checks_format_rules_types_and_import_contracts() -> None:
    lint = commands("lint")
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports"):
        assert tool in lint


def test_ci_runs_the_commands_of_the_readme() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    readme = (ROOT / "README.md").read_text()
    for command in ("make demo", "make test"):
        assert f"\n{command}\n" in ci
        assert command in readme
    assert ci.rstrip().endswith("make test"), "the tests' closing line is the last thing that CI prints"


def instructions(keyword: str) -> list[str]:
    dockerfile = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{keyword} +(.+)$", dockerfile, re.MULTILINE)


def test_the_image_holds_the_server_only_and_does_not_run_as_root() -> None:
    installed = " ".join(instructions("RUN"))
    assert "training" not in installed
    assert "torch" not in installed
    assert instructions("USER")[-1] not in ("root", "0")


def test_sigterm_reaches_the_server_in_the_image() -> None:
    (entrypoint,) = instructions("ENTRYPOINT")
    assert json.loads(entrypoint)[-2:] == ["-m", "serving"]  # the exec form: no shell in between


def test_the_image_sets_only_settings_that_exist() -> None:
    words = [word.partition("=") for line in instructions("ENV") for word in shlex.split(line)]
    given = {name: value for name, _, value in words if name.startswith("OFFRAMP_")}
    fields = {name.removeprefix("OFFRAMP_").lower(): value for name, value in given.items()}
    assert fields.keys() <= Settings.model_fields.keys()
    assert instructions("EXPOSE") == [fields["port"]]
    assert fields["port"] in instructions("HEALTHCHECK")[0]


def test_every_decision_record_has_the_four_parts_and_is_listed() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert len(records) >= 6
    for number, record in enumerate(records, start=1):
        assert record.name.startswith(f"{number:04d}-")
        assert f"decisions/{record.name}" in index
        headings = re.findall(r"^## (.+)$", record.read_text(), re.MULTILINE)
        assert headings == ["Status", "Context", "Decision", "Consequences"]
