"""Chooses the pages of the documentation site, and makes one page of API reference for each package.

A hook of MkDocs. Pages are the repository's own Markdown files at their own paths, so a link that works in a
checkout works on the site. Files that they link to are copied beside them.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "LICENSE",
    "Dockerfile",
    "deploy/**/*",
    "docs/**/*",
    "exported_models/README.md",
    "exported_models/cifar*/README.md",
)
PACKAGES = ("offramp", "serving", "training")
_DOWNLOAD = re.compile(
    r"""<(?:script|img|link rel="stylesheet"|link rel="preconnect")[^>]*(?:src|href)="?https?:[^>]*>"""
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the reference to the navigation."""
    reference = [{name: f"reference/{name}.md"} for name in packages()]
    config.nav = [*(config.nav or []), {"API reference": reference}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take the files of the repository in place of those of docs/ alone, and the reference."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = sorted({path for pattern in SHOWN for path in ROOT.glob(pattern) if path.is_file()})
    shown = [_file(path.relative_to(ROOT).as_posix(), config, src_dir=str(ROOT)) for path in paths]
    reference = [
        File.generated(config, f"reference/{name}.md", content=_page(name, modules))
        for name, modules in packages().items()
    ]
    return Files([*theme, *shown, *reference])


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would download something when it is viewed.

    Raises:
        PluginError: it would.
    """
    if found := _DOWNLOAD.search(output):
        raise PluginError(f"{page.file.src_uri}: a page must bring all it shows, found {found[0][:200]}")
    return output


def _file(path: str, config: MkDocsConfig, **where: Any) -> File:
    return File(path, dest_dir=config.site_dir, use_directory_urls=config.use_directory_urls, **where)


def packages() -> dict[str, list[str]]:
    """Return the dotted name of every package that is here, with its modules, itself first."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for init in sorted((ROOT / package).glob("**/__init__.py"), key=lambda path: path.parent.parts):
            folder = init.parent
            name = ".".join(folder.relative_to(ROOT).parts)
            modules = [path.stem for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]
            found[name] = [name, *(f"{name}.{module}" for module in modules)]
    return found


def _page(name: str, modules: list[str]) -> str:
    """Return the Markdown of one page, which mkdocstrings fills from the docstrings."""
    return "\n\n".join([f"# {name}", *(f"::: {module}" for module in modules)])
