"""Marks tests that want a browser: they are skipped where there is none, and say so; CI has one (.ci/run)."""

import pytest

from benchmarks.browser import chromium

IN_CHROMIUM = pytest.mark.skipif(
    chromium() is None, reason="no chromium on the PATH (.ci/chromium FOLDER unpacks one)"
)
