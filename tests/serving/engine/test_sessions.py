"""What a session holds on to."""

from serving.engine.providers import CPU
from serving.engine.sessions import open_session
from tests.bundles import tiny_segments


def test_a_session_does_not_keep_the_file_it_was_opened_on() -> None:
    """The weights would be in memory twice."""
    session = open_session(tiny_segments()[0], 1, [CPU])
    assert not [value for value in vars(session).values() if isinstance(value, bytes)]
