"""Write the two locks: every package that pyproject.toml leads to, at one version, with hashes of its files.

    make lock                                          what pyproject.toml asks for; pins stay where they can
    make lock LOCK_ARGS=--upgrade                      the newest of everything
    make lock LOCK_ARGS="--upgrade-package numpy"      the newest of one

`requirements.lock` is the server and its build backend, `requirements-all.lock` every extra but Ray's as
well; both agree. uv resolves for every platform and Python at once, and a release's hashes are those of all
its files: one lock serves Linux, macOS and Windows. A lock names no address, so any mirror can serve it.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVER, EVERYTHING = "requirements.lock", "requirements-all.lock"
_COMPILE = (
    *("-m", "uv", "pip", "compile", "--quiet", "--no-config", "--universal", "--generate-hashes"),
    *("--no-annotate", "--custom-compile-command", "make lock"),
    *("--no-emit-package", "pip"),  # it installs the others: an environment brings its own
)


def build_backend() -> str:
    """Return the requirements that `pip install --no-build-isolation` takes from the environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return "\n".join(project["build-system"]["requires"])


def locked_extras() -> list[str]:
    """Return every extra but Ray's, which has an environment of its own (tests/scale/ray.lock)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [extra for extra in project["optional-dependencies"] if extra != "ray"]


def write(lock: str, *options: str) -> None:
    """Write one lock; a version that it already holds stays unless the options or pyproject.toml forbid it.

    Raises:
        CalledProcessError: uv found no versions that fit together, and has said why.
    """
    command = [sys.executable, *_COMPILE, "--output-file", lock, *options, "pyproject.toml", "-"]
    subprocess.run(command, cwd=ROOT, input=build_backend(), text=True, check=True)  # noqa: S603


if __name__ == "__main__":
    try:
        # The documentation's packages need a later 3.11 than the server does.
        extras = (word for extra in locked_extras() for word in ("--extra", extra))
        write(EVERYTHING, *extras, "--python-version", "3.11.5", *sys.argv[1:])
        write(SERVER, "--constraint", EVERYTHING, "--python-version", "3.11")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
