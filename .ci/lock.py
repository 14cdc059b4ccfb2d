"""Print a constraints file: every package that pyproject.toml leads to, at the version installed here.

Run by `make lock` after trying newer versions. A line for a package that another platform does not ask for
does nothing there, so the file needs no markers; and it holds no address, so any mirror can serve it.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def declared(pyproject: Path) -> list[Requirement]:
    """Return the requirements of `pyproject`: the base ones and those of every extra."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for line in [*project["dependencies"], *(line for e in extras for line in e)]]


def closure(roots: list[Requirement]) -> dict[str, str]:
    """Return name → installed version of everything that `roots` lead to in this environment.

    Raises:
        PackageNotFoundError: a root, or something that it needs, is not installed.
    """
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()  # (package, extra); the empty extra is the package itself
    queue = [(requirement, "") for requirement in roots]
    while queue:
        requirement, asked_by_extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": asked_by_extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            package = distribution(name)
        except PackageNotFoundError:
            raise PackageNotFoundError(
                f"{requirement} (run `make test` once to install everything)"
            ) from None
        versions[name] = package.version
        for extra in {"", *requirement.extras} - {extra for seen_name, extra in seen if seen_name == name}:
            seen.add((name, extra))
            queue += [(Requirement(line), extra) for line in package.requires or ()]
    return versions


if __name__ == "__main__":
    found = closure(declared(ROOT / "pyproject.toml"))
    found.pop("pip", None)  # it installs the others: an environment brings its own
    lines = sorted(f"{name}=={version}" for name, version in found.items())
    print(
        "# The versions this was tested with, used as constraints. Remade by `make lock`.", *lines, sep="\n"
    )
