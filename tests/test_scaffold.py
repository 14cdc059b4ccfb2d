"""The checkout itself: what is tracked and locked, what the commands run, what the image is built from."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

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


@dataclass(frozen=True)
class Pin:
    version: str
    marker: str
    hashes: frozenset[str]


LOCKS = ("requirements.lock", "requirements-all.lock")
PIN = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[A-Za-z0-9.+!]+)(?: ; (?P<marker>[^\n\\]+?))? \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)


@cache
def locked(lock: str) -> dict[str, Pin]:
    text = re.sub(r"^#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    pins = list(PIN.finditer(text))
    assert "".join(pin[0] for pin in pins) == text  # nothing but pins, each with hashes
    assert [pin["name"] for pin in pins] == sorted({pin["name"] for pin in pins})
    hashes = [frozenset(re.findall("sha256:[0-9a-f]{64}", pin["hashes"])) for pin in pins]
    return {
        pin["name"]: Pin(pin["version"], pin["marker"] or "", found)
        for pin, found in zip(pins, hashes, strict=True)
    }


def declared(*, extras: bool) -> list[Requirement]:
    """What pyproject.toml asks for: the build backend, the server, and all extras."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = whole["project"]
    # Ray's extra has an environment and a lock of its own.
    optional = [
        line for name, extra in project["optional-dependencies"].items() if name != "ray" for line in extra
    ]
    lines = [*whole["build-system"]["requires"], *project["dependencies"], *(optional if extras else ())]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(
    ("lock", "requirement"),
    [(lock, one) for lock in LOCKS for one in declared(extras=lock == LOCKS[1])],
    ids=str,
)
def test_the_locks_cover_what_pyproject_asks_for(lock: str, requirement: Requirement) -> None:
    pin = locked(lock).get(canonicalize_name(requirement.name))
    assert pin is not None, "run `make lock`"
    assert requirement.specifier.contains(pin.version)


def test_the_locks_agree() -> None:
    server, everything = map(locked, LOCKS)
    assert server.keys() < everything.keys()
    for name, pin in server.items():
        assert (pin.version, pin.hashes) == (everything[name].version, everything[name].hashes)
    assert "torch" not in server


def test_the_locks_serve_other_platforms_than_the_one_they_were_made_on() -> None:
    server = locked("requirements.lock")
    assert "platform_machine != 'x86_64'" in server["onnxruntime"].marker
    # Wheels for three systems and several Pythons, and the source: a lock of one machine has one or two.
    assert len(server["numpy"].hashes) > 20


def test_what_is_installed_is_checked_against_hashes() -> None:
    makefile = (ROOT / "Makefile").read_text()
    dockerfile = " ".join(instructions("RUN"))
    for lock in LOCKS:
        assert f"$(PIP) --require-hashes --requirement {lock}" in makefile
    assert "--require-hashes --requirement requirements.lock" in dockerfile
    for text in (makefile, dockerfile):
        assert "--no-deps --no-build-isolation" in text


def test_both_stages_of_the_image_start_from_one_name() -> None:
    assert re.search(
        r"^ARG BASE=python:3\.11-slim(@sha256:[0-9a-f]{64})?$", (ROOT / "Dockerfile").read_text(), re.M
    )
    assert [line.split()[0] for line in instructions("FROM")] == ["${BASE}", "${BASE}"]


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


@pytest.mark.parametrize("ready", [False, True])
def test_the_health_check_of_the_image_follows_the_port(ready: bool) -> None:
    words = json.loads(instructions("HEALTHCHECK")[0].partition("CMD ")[2])
    asked: list[str] = []

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if ready else 503)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = {"OFFRAMP_PORT": str(server.server_port)}
        done = subprocess.run([sys.executable, *words[1:]], env=environment, capture_output=True)
        server.shutdown()
    assert words[0] == "python"
    assert asked == ["/v2/health/ready"]
    assert (done.returncode == 0) == ready


def test_every_decision_record_has_the_four_parts_and_is_listed() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert len(records) >= 6
    for number, record in enumerate(records, start=1):
        assert record.name.startswith(f"{number:04d}-")
        assert f"decisions/{record.name}" in index
        headings = re.findall(r"^## (.+)$", record.read_text(), re.MULTILINE)
        assert headings == ["Status", "Context", "Decision", "Consequences"]
