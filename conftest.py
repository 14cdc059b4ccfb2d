"""Documentation executes: Sybil runs every Python example in the Markdown files and the docstrings.

Shapes are checked in all tests, those of the documentation included.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser
from sybil.sybil import SybilCollection

from tests import shapes  # isort: skip - installs its hook before the packages are imported
from tests.bundles import tiny_bundle

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

_public_docstrings = Sybil(
    parsers=[DocTestParser()],
    patterns=["offramp/*.py"],
    path=str(ROOT),
    document_types={".py": PythonDocStringDocument},
    fixtures=["documented_folder"],
)

pytest_collect_file = SybilCollection([_markdown, _docstrings, _public_docstrings]).pytest()


@pytest.fixture(autouse=True)
def _check_the_shapes_of_this_test() -> None:
    shapes.CALLS.clear()


@pytest.fixture(scope="module")
def documented_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a document's examples in a folder of their own, where a small bundle stands in for real ones."""
    folder = tmp_path_factory.mktemp("documented")
    for name in ("cifar10-ladder-int8", "digits", "tutorial"):
        tiny_bundle(folder / "exported_models" / name)
    (folder / "docs").mkdir()
    (folder / "docs" / "images").symlink_to(ROOT / "docs" / "images")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
