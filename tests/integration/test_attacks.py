"""The attacks that need little time, against real processes: all of their findings but times and amounts."""

import pytest

from benchmarks.attack import ATTACKS


@pytest.mark.parametrize(
    "name", ["framing", "upgrading", "hanging", "starting", "unread-logs", "edge-numbers"]
)
def test_an_attack_is_withstood(name: str) -> None:
    findings = [finding for finding in ATTACKS[name]() if not finding.measured]
    assert findings
    assert [finding for finding in findings if not finding.held] == []
