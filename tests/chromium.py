"""Marks tests that want a browser: they are skipped, and say so, where there is none; CI has one (.ci/run)."""

import pytest

from benchmarks.browser import chromium

IN_CHROMIUM = pytest.mark.skipif(
    chromium() is None, reason="no chromium on the PATH (.ci/chromium FOLDER unpacks one)"
)
