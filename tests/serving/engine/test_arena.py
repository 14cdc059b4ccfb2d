from pathlib import Path

from serving.engine.arena import shrink_arena
from serving.engine.engine import Engine
from tests.bundles import tiny_bundle, tiny_images


def test_sessions_go_on_after_the_arena_has_shrunk(tmp_path: Path) -> None:
    engine = Engine(tiny_bundle(tmp_path / "tiny"))
    images = tiny_images(8)
    before = engine.run(0, (images,))
    shrink_arena()
    after = engine.run(0, (images,))
    assert (before[0] == after[0]).all()
