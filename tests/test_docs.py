"""The pages name only what exists; the site shows docstrings' examples as code and downloads nothing."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/*.md", "exported_models/README.md")
    for path in ROOT.glob(pattern)
    if not re.search(
        r"docs/(results|compared)/\w+/report\.md$", path.as_posix()
    )  # written by a command, as of a day
)
_PACKAGES = "serving|training|offramp|benchmarks"
_SERVING = "bundle|engine|images|monitoring|policy|scheduler|telemetry|web"


def helper(name: str) -> ModuleType:
    """Import a script of .ci/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(dotted: str) -> bool:
    """Whether a dotted name is a module here, or something that the text of one defines."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        folder = ROOT.joinpath(*parts[:length])
        for source in (folder.with_suffix(".py"), folder / "__init__.py"):
            if source.exists():
                text = source.read_text()
                return all(re.search(rf"\b{part}\b", text) for part in parts[length:])
    return False


def code(page: Path) -> str:
    """Return the code of a page: blocks and spans."""
    text = page.read_text()
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`|(?<=\n\n) {4}[^\n]+", text, re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_what_exists(page: Path) -> None:
    text = code(page)
    dotted = set(re.findall(rf"(?<![\w./-])(?:{_PACKAGES})(?:\.[A-Za-z_]\w*)+(?![\w/])", text))
    paths = set(re.findall(rf"(?<![\w./:-])(?:{_PACKAGES}|tests|deploy|docs|\.ci)/[\w./-]*\w", text))
    inner = set(re.findall(rf"`((?:{_SERVING})/\w+\.py)`", text))
    targets = set(re.findall(r"(?:^|`)make ([a-z]+(?:-[a-z]+)*)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    missing = [
        *(name for name in dotted if not names(name) and not name.endswith((".json", ".md", ".png"))),
        *(path for path in paths if not any(ROOT.glob(f"{path}*"))),
        *(path for path in inner if not (ROOT / "serving" / path).exists()),
        *(f"make {target}" for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)),
    ]
    assert not missing


def test_the_architecture_shows_the_layers_of_the_import_contracts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = {one["containers"][0]: one["layers"] for one in contracts if "containers" in one}
    head, *lines = (ROOT / "docs/architecture.md").read_text().rpartition("```text\n")[2].splitlines()
    edge = head.index("training")
    shown = {
        "serving": [line[:edge].strip() for line in lines],
        "training": [line[edge:].strip() for line in lines],
    }
    for package, expected in layers.items():
        named = ["commands" if layer.startswith("fit |") else layer for layer in expected]
        assert [layer for layer in shown[package] if layer not in ("", "```")] == named


def test_every_package_has_a_page_of_the_reference() -> None:
    found = {
        path.parent
        for top in ("offramp", "serving", "training")
        for path in (ROOT / top).rglob("__init__.py")
    }
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in found}
    shown = helper("docs_site").packages()
    assert packages == set(shown)
    assert "serving.scheduler.dispatch" in shown["serving.scheduler"]


def test_the_navigation_leads_to_pages_that_exist() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2].partition("\nplugins:")[0]
    pages = re.findall(r"[\w./-]+\.md", nav)
    assert len(pages) > 20
    assert [page for page in pages if not (ROOT / page).exists()] == []


def test_an_example_in_a_docstring_becomes_a_block_of_code() -> None:
    fenced = helper("doctest_blocks").fenced
    assert fenced("Adds.\n\n>>> 1 + 1\n2\n\nEnd.") == "Adds.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nEnd."
    assert fenced("Adds.") == "Adds."


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://example.org/a.js">',
        '<link rel="stylesheet" href="https://example.org/a.css">',
        '<img alt="a" src="https://example.org/a.png">',
    ],
)
def test_a_page_that_downloads_something_is_refused(tag: str) -> None:
    page = type("Page", (), {"file": type("File", (), {"src_uri": "a.md"})})
    hook = helper("docs_site").on_post_page
    assert hook('<a href="https://example.org">', page=page) == '<a href="https://example.org">'
    with pytest.raises(PluginError, match=r"a\.md"):
        hook(f"<p>{tag}", page=page)
