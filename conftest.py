"""Documentation executes: Sybil runs every Python example in the Markdown files and the docstrings."""

from pathlib import Path

import pytest
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

ROOT = Path(__file__).parent

_markdown = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["*.md", "docs/*.md", "docs/*/*.md"],
    path=str(ROOT),
    fixtures=["documented_folder"],
)
_docstrings = Sybil(
    parsers=[DocTestParser()],
    patterns=["serving/*.py", "serving/*/*.py", "training/*.py", "training/*/*.py"],
    path=str(ROOT),
    document_types={".py": PythonDocStringDocument},
)

pytest_collect_file = (_markdown + _docstrings).pytest()


@pytest.fixture(scope="module")
def documented_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch
) -> Path:
    """Run a document's examples in an empty folder, so that what they write stays out of the checkout."""
    folder = tmp_path_factory.mktemp("documented")
    monkeypatch_module.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def monkeypatch_module():  # type: ignore[no-untyped-def]
    """Undo a document's changes of the process when its last example has run."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch
